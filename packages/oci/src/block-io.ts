import { glob, readFile, realpath } from "node:fs/promises";

import { ignoreNotFound, invalidArgument, messageOf, notFound, wrapError } from "@berth/errors";

import { findDevice } from "./spec-host.ts";
import type { SpecBlockIo, SpecOption } from "./spec-model.ts";
import { changeResources } from "./spec-model.ts";

/** Limits for some devices, or, without any, a weight for all others. Amounts may be told as `10M`, `5k` or `1Gi`. */
interface DeviceLimits {
  readonly devices: readonly string[] | undefined;
  readonly weight: number | undefined;
  /** By the name of the field in the runtime specification. */
  readonly rates: ReadonlyMap<RateField, number>;
}

type RateField =
  | "throttleReadBpsDevice"
  | "throttleWriteBpsDevice"
  | "throttleReadIOPSDevice"
  | "throttleWriteIOPSDevice";

/** Classes of block I/O by their names. */
export type BlockIoClasses = ReadonlyMap<string, readonly DeviceLimits[]>;

const RATES: ReadonlyMap<string, RateField> = new Map([
  ["throttlereadbps", "throttleReadBpsDevice"],
  ["throttlewritebps", "throttleWriteBpsDevice"],
  ["throttlereadiops", "throttleReadIOPSDevice"],
  ["throttlewriteiops", "throttleWriteIOPSDevice"],
]);
const [MIN_WEIGHT, MAX_WEIGHT] = [10, 1000];
const BINARY = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
const DECIMAL = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];

/** This sets limits and weights of block I/O. */
export function withBlockIo(blockIO: SpecBlockIo): SpecOption {
  return (spec) => changeResources(spec, (resources) => ({ ...resources, blockIO }));
}

/** What a class comes to on this machine. */
export interface BlockIoClass {
  readonly blockIo: SpecBlockIo;
  /** Devices that a class names and that are not there: the rest holds without them. */
  readonly problems: readonly string[];
}

/**
 * This reads a class of block I/O from a file of classes, in YAML, for the devices of this machine.
 *
 * @throws not_found - the file, or the class in it; invalid_argument - a malformed file
 * @see intel/goresctrl pkg/blockio
 */
export async function readBlockIoClass(path: string, name: string): Promise<BlockIoClass> {
  let classes: BlockIoClasses;
  try {
    const { parse } = await import("yaml");
    const text = await readFile(path, "utf8");
    classes = parseBlockIoClasses(parse(text, { version: "1.1", logLevel: "error" }));
  } catch (error) {
    const known = error instanceof Error && error.name === "YAMLParseError" ? invalidArgument(messageOf(error)) : error;
    throw wrapError(known, `read block I/O classes of ${path}`);
  }
  const found = classes.get(name);
  if (found === undefined) throw notFound(`block I/O class ${JSON.stringify(name)} is not in ${path}`);
  return await resolveClass(found);
}

/** This reads classes from what a reader of YAML returned. @throws invalid_argument - they are none */
export function parseBlockIoClasses(value: unknown): BlockIoClasses {
  if (value === null || value === undefined) return new Map();
  const { classes, ...others } = fieldsOf(value, "the file");
  requireNone(others, "the file");
  if (classes === null || classes === undefined) return new Map();
  return new Map(
    Object.entries(requireObject(classes, "Classes")).map(([name, list]) => {
      if (list !== null && !Array.isArray(list)) throw invalidArgument(`class ${name}: expected a list`);
      return [name, (list ?? []).map((entry: unknown, index: number) => parseLimits(entry, `${name}[${index}]`))];
    }),
  );
}

function parseLimits(value: unknown, where: string): DeviceLimits {
  const { devices, weight, ...others } = fieldsOf(value, where);
  const rates = new Map<RateField, number>();
  for (const [name, field] of RATES) {
    const amount = parseAmount(others[name], `${where}.${name}`);
    if (amount !== undefined) rates.set(field, amount);
    delete others[name];
  }
  requireNone(others, where);
  if (devices !== undefined && devices !== null && !isTexts(devices))
    throw invalidArgument(`${where}.Devices: expected a list of paths`);
  const share = parseAmount(weight, `${where}.Weight`);
  if (share !== undefined && (share < MIN_WEIGHT || share > MAX_WEIGHT))
    throw invalidArgument(`${where}.Weight: ${share} is not between ${MIN_WEIGHT} and ${MAX_WEIGHT}`);
  if ((devices ?? undefined) === undefined && rates.size > 0) throw invalidArgument(`${where}: limits without Devices`);
  return { devices: devices ?? undefined, weight: share, rates };
}

/** As Kubernetes writes quantities: `1.5M`, `64Ki`, `1e6`; rounded up. */
function parseAmount(value: unknown, where: string): number | undefined {
  if (value === undefined || value === null || value === "") return undefined;
  const match = /^\+?(\d+\.?\d*|\.\d+)(?:([eE][+-]?\d{1,3})|([KMGTPE]i|[numkMGTPE]))?$/.exec(String(value));
  if (match === null || !["string", "number"].includes(typeof value))
    throw invalidArgument(`${where}: invalid quantity ${JSON.stringify(value)}`);
  const [, digits = "", exponent = "", suffix = ""] = match;
  const binary = suffix.endsWith("i");
  const power = binary ? BINARY.indexOf(suffix) : DECIMAL.indexOf(suffix) - DECIMAL.indexOf("");
  const amount = Math.ceil(Number(`${digits}${exponent}`) * (binary ? 1024 : 1000) ** power);
  if (!Number.isSafeInteger(amount)) throw invalidArgument(`${where}: ${JSON.stringify(value)} is too much`);
  return amount;
}

async function resolveClass(limits: readonly DeviceLimits[]): Promise<BlockIoClass> {
  const problems: string[] = [];
  let weight: number | undefined;
  const weights = new Map<string, { major: number; minor: number; weight: number }>();
  const rates = new Map<RateField, Map<string, { major: number; minor: number; rate: number }>>();
  for (const each of limits) {
    if (each.devices === undefined) weight = each.weight ?? weight;
    for (const { major, minor } of await findDevices(each.devices ?? [], problems)) {
      const key = `${major}:${minor}`;
      if (each.weight !== undefined) weights.set(key, { major, minor, weight: each.weight });
      for (const [field, rate] of each.rates) {
        const of = rates.get(field) ?? new Map();
        rates.set(field, of.set(key, { major, minor, rate }));
      }
    }
  }
  const blockIo = {
    ...(weight !== undefined && { weight }),
    ...(weights.size > 0 && { weightDevice: [...weights.values()] }),
    ...Object.fromEntries([...rates].map(([field, devices]) => [field, [...devices.values()]])),
  };
  return { blockIo, problems };
}

interface DeviceNumber {
  readonly major: number;
  readonly minor: number;
}

async function findDevices(patterns: readonly string[], problems: string[]): Promise<readonly DeviceNumber[]> {
  const paths = new Set<string>();
  for (const pattern of patterns) {
    const matches = await Array.fromAsync(glob(pattern));
    if (matches.length === 0) problems.push(`no device is ${pattern}`);
    for (const match of matches) {
      // Links to what was unplugged stay for a while.
      const path = await realpath(match).catch(ignoreNotFound);
      if (path === undefined) problems.push(`${match} leads to no device`);
      else paths.add(path);
    }
  }
  const found: DeviceNumber[] = [];
  for (const path of [...paths].toSorted()) {
    const device = await findDevice(path, path);
    if (device?.type === "b") found.push(device);
    else problems.push(`${path} is no block device`);
  }
  return found;
}

/** Go's reader does not mind how the names of fields are written. */
function fieldsOf(value: unknown, where: string): Record<string, unknown> {
  const entries = Object.entries(requireObject(value, where));
  return Object.fromEntries(entries.map(([name, field]) => [name.toLowerCase(), field]));
}

function requireObject(value: unknown, where: string): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw invalidArgument(`${where}: expected fields, got ${JSON.stringify(value)}`);
  // Just checked; the values stay unknown.
  return value as Readonly<Record<string, unknown>>;
}

function requireNone(others: Readonly<Record<string, unknown>>, where: string): void {
  const [first] = Object.keys(others);
  if (first !== undefined) throw invalidArgument(`${where}: unknown field ${JSON.stringify(first)}`);
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === "string");
}
