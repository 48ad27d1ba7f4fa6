import { messageOf, unknown } from "@berth/errors";
import { isIP } from "node:net";
import { z } from "zod";

import { isCidr, isIpv4 } from "./address.ts";
import { CNI_VERSIONS, isAtLeast, isCniVersion } from "./cni-version.ts";

/** An interface that a plugin made. */
export type CniInterface = Readonly<z.output<typeof INTERFACE>>;
/** An address, and the place in the list of interfaces of that which has it. */
export type CniAddress = Readonly<z.output<typeof ADDRESS>>;
export type CniRoute = Readonly<z.output<typeof ROUTE>>;
export type CniDns = Readonly<z.output<typeof DNS>>;

/** What an attachment to a network came to, in the form of version 1.1 whatever the plugins speak. */
export interface CniResult {
  readonly interfaces: readonly CniInterface[];
  readonly ips: readonly CniAddress[];
  readonly routes: readonly CniRoute[];
  readonly dns: CniDns;
}

/** Where Go has an empty value, a field may be there and say nothing. */
const OPTIONAL_TEXT = absentIf(z.string(), "");
const OPTIONAL_IP = absentIf(
  z.string().refine((text) => text === "" || isIP(text) !== 0, "not an IP address"),
  "",
);
const OPTIONAL_NUMBER = absentIf(z.int().nonnegative(), 0);
const CIDR = z.string().refine(isCidr, "not an IP address with the length of its network");

const INTERFACE = z.object({
  name: z.string(),
  mac: OPTIONAL_TEXT,
  mtu: OPTIONAL_NUMBER,
  sandbox: OPTIONAL_TEXT,
  socketPath: OPTIONAL_TEXT,
  pciID: OPTIONAL_TEXT,
});
const ADDRESS = z.object({
  interface: absentIf(z.int().nonnegative(), null),
  address: CIDR,
  gateway: OPTIONAL_IP,
});
const ROUTE = z.object({
  dst: CIDR,
  gw: OPTIONAL_IP,
  mtu: OPTIONAL_NUMBER,
  advmss: OPTIONAL_NUMBER,
  priority: OPTIONAL_NUMBER,
  table: absentIf(z.int(), null),
  scope: absentIf(z.int(), null),
});
const TEXTS = listOf(z.string());
const DNS = z
  .object({ nameservers: TEXTS, domain: OPTIONAL_TEXT, search: TEXTS, options: TEXTS })
  .nullish()
  .transform((dns) => dns ?? { nameservers: [], domain: undefined, search: [], options: [] });
const RESULT = z.object({
  interfaces: listOf(INTERFACE),
  ips: listOf(ADDRESS),
  routes: listOf(ROUTE),
  dns: DNS,
});
const OLD_ADDRESS = z
  .object({ ip: CIDR, gateway: OPTIONAL_IP, routes: listOf(ROUTE) })
  .nullish()
  .transform((address) => address ?? undefined);
/** Of versions before 0.3.0. */
const OLD_RESULT = z.object({ ip4: OLD_ADDRESS, ip6: OLD_ADDRESS, dns: DNS });
const VERSIONED = z.looseObject({ cniVersion: OPTIONAL_TEXT });

/** A plugin that has nothing to tell. */
export const EMPTY_RESULT: CniResult = RESULT.parse({});

/**
 * This reads what a plugin wrote, of any version; without one, that of its configuration is meant.
 *
 * @throws unknown - it is no result
 */
export function parseResult(text: string, configVersion: string): CniResult {
  try {
    return readResult(text.trim() === "null" ? {} : JSON.parse(text), configVersion);
  } catch (error) {
    throw unknown(`invalid CNI result: ${describe(error)}`, { cause: error });
  }
}

/** This reads a result that is JSON already. @throws whatever is wrong with it */
export function readResult(value: unknown, configVersion: string): CniResult {
  const { cniVersion = configVersion } = VERSIONED.parse(value);
  if (!isCniVersion(cniVersion))
    throw new RangeError(`version ${JSON.stringify(cniVersion)} is none of ${CNI_VERSIONS.join(", ")}`);
  if (!isAtLeast(cniVersion, "0.3.0")) return fromOldResult(OLD_RESULT.parse(value));
  const result = RESULT.parse(value);
  for (const { interface: index = 0, address } of result.ips) {
    if (index > 0 && index >= result.interfaces.length)
      throw new RangeError(`${address} is of interface ${index} of ${result.interfaces.length}`);
  }
  return result;
}

function fromOldResult({ ip4, ip6, dns }: z.output<typeof OLD_RESULT>): CniResult {
  const both = [ip4, ip6].filter((each) => each !== undefined);
  return {
    interfaces: [],
    ips: both.map(({ ip, gateway }) => ({ interface: undefined, address: ip, gateway })),
    routes: both.flatMap(({ routes }) => routes),
    dns,
  };
}

/** This writes a result in the form of a version, for the plugins that come next; what that has no place for is left out. */
export function formatResult(result: CniResult, version: string): Readonly<Record<string, unknown>> {
  const dns = formatDns(result.dns);
  const tail = dns === undefined ? {} : { dns };
  if (!isAtLeast(version, "0.3.0")) return { cniVersion: version, ...toOldResult(result), ...tail };
  const isNew = isAtLeast(version, "1.0.0");
  const family = (address: string): object => (isNew ? {} : { version: isIpv4(address) ? "4" : "6" });
  const interfaces = isNew
    ? result.interfaces
    : result.interfaces.map(({ name, mac, sandbox }) => ({ name, mac, sandbox }));
  return {
    cniVersion: version,
    ...(interfaces.length > 0 && { interfaces }),
    ...(result.ips.length > 0 && { ips: result.ips.map((ip) => ({ ...family(ip.address), ...ip })) }),
    ...(result.routes.length > 0 && { routes: result.routes }),
    ...tail,
  };
}

/** It has room for one address of each family. */
function toOldResult({ ips, routes }: CniResult): object {
  const of = (wanted: boolean): object | undefined => {
    const found = ips.find(({ address }) => isIpv4(address) === wanted);
    if (found === undefined) return undefined;
    const own = routes.filter(({ dst }) => isIpv4(dst) === wanted).map(({ dst, gw }) => ({ dst, gw }));
    return { ip: found.address, gateway: found.gateway, ...(own.length > 0 && { routes: own }) };
  };
  return { ip4: of(true), ip6: of(false) };
}

function formatDns({ nameservers, domain, search, options }: CniDns): object | undefined {
  if (nameservers.length + search.length + options.length === 0 && domain === undefined) return undefined;
  return { nameservers, domain, search, options };
}

function absentIf<T>(schema: z.ZodType<T>, empty: T | null) {
  return schema.nullish().transform((value) => (value === null || value === empty ? undefined : value));
}

function listOf<S extends z.ZodType>(schema: S) {
  return z
    .array(schema)
    .nullish()
    .transform((items): readonly z.output<S>[] => items ?? []);
}

function describe(error: unknown): string {
  return error instanceof z.ZodError ? z.prettifyError(error).replaceAll(/\s*\n\s*/g, " ") : messageOf(error);
}
