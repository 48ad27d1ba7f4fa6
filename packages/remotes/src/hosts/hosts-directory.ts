import { readFile, stat } from "node:fs/promises";
import { isAbsolute, join } from "node:path";

import type { Logger } from "@berth/core/log";
import { invalidArgument, isNotFound, messageOf, wrapError } from "@berth/errors";

import { readCertificateDirectory } from "./certificate-directory.ts";
import type { HostDefaults } from "./default-host.ts";
import { defaultHost } from "./default-host.ts";
import type { HostEntry, HostsFile } from "./hosts-toml.ts";
import { parseHostsToml } from "./hosts-toml.ts";
import type { RegistryHost, TlsSettings } from "./registry-host.ts";
import { ALL_CAPABILITIES, withTls } from "./registry-host.ts";

const PORT = /:(\d+)$/;

/**
 * This returns the servers to ask for a registry's images, in order: the mirrors of its `hosts.toml`, then the registry itself.
 *
 * The first of `roots` with a directory for the registry counts, `undefined` stands for none: `<host>_<port>_`, `<host:port>`, `_default`. A `hosts.toml` that is missing or cannot be
 * read leaves the certificates of the directory, as with Docker.
 *
 * @throws invalid_argument - a server's URL
 * @throws not_found, permission_denied - a certificate that is named
 * @see containerd core/remotes/docker/config/hosts.go, ConfigureHosts
 */
export async function hostsFromDirectory(
  roots: readonly string[],
  registry: string,
  defaults: HostDefaults,
  log: Logger,
): Promise<readonly RegistryHost[] | undefined> {
  const directory = await findDirectory(roots, registry);
  if (directory === undefined) return undefined;
  const file = await readHostsFile(directory, log);
  if (file === undefined) {
    const own = await readCertificateDirectory(directory);
    return [defaultHost(registry, { ...defaults, tls: own === undefined ? defaults.tls : joinTls(defaults.tls, own) })];
  }
  const place = { directory, registry, defaults };
  const mirrors = await Promise.all(file.hosts.map((entry) => toHost(place, entry)));
  return [...mirrors, await upstreamOf(place, file.server)];
}

/** Where an entry was read, and for whom. */
interface Place {
  readonly directory: string;
  readonly registry: string;
  readonly defaults: HostDefaults;
}

async function findDirectory(roots: readonly string[], registry: string): Promise<string | undefined> {
  const port = PORT.exec(registry)?.[1];
  const names = [...(port === undefined ? [] : [`${registry.replace(PORT, "")}_${port}_`]), registry, "_default"];
  for (const root of roots) {
    for (const name of names) {
      const path = join(root, name);
      // A registry's name comes from a user's reference: it must not lead out of the root.
      if (name.includes("/") || name.startsWith(".")) continue;
      if (await isDirectory(path)) return path;
    }
  }
  return undefined;
}

async function isDirectory(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch (error) {
    if (isNotFound(error)) return false;
    throw wrapError(error, "look for registry hosts");
  }
}

async function readHostsFile(directory: string, log: Logger): Promise<HostsFile | undefined> {
  const path = join(directory, "hosts.toml");
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw wrapError(error, "read registry hosts");
  }
  if (text.trim() === "") return undefined;
  try {
    const file = parseHostsToml(text);
    const { unknownKeys } = file;
    if (unknownKeys.length > 0) log.warn("unknown keys of hosts.toml are passed over", { path, keys: unknownKeys });
    return file;
  } catch (error) {
    log.error("failed to decode hosts.toml", { path, error: messageOf(error) });
    return undefined;
  }
}

/** Without `server`, the registry is asked as if nothing were configured but what is said of its connections, and with all capabilities. */
async function upstreamOf(place: Place, entry: HostEntry): Promise<RegistryHost> {
  if (entry.server !== "") return await toHost(place, entry);
  const { registry, defaults } = place;
  return { ...defaultHost(registry, { ...defaults, tls: await readTls(place, entry) }), ...settingsOf(place, entry) };
}

async function toHost(place: Place, entry: HostEntry): Promise<RegistryHost> {
  const url = serverUrl(entry.server, place.registry);
  const tls = await readTls(place, entry);
  const path = url.pathname.replace(/\/+$/, "");
  const base: RegistryHost = {
    scheme: url.protocol === "http:" ? "http" : "https",
    host: url.host,
    path: entry.overridePath || path.endsWith("/v2") ? path : `${path}/v2`,
    capabilities: entry.capabilities === undefined ? ALL_CAPABILITIES : new Set(entry.capabilities),
    ...settingsOf(place, entry),
  };
  return tls === undefined ? base : withTls(base, tls);
}

function settingsOf({ directory }: Place, { headers, dialTimeoutMs, proxy, credentialsFile }: HostEntry) {
  return {
    headers,
    ...(dialTimeoutMs !== undefined && { dialTimeoutMs }),
    ...(proxy !== undefined && { proxy }),
    ...(credentialsFile !== undefined && { credentialsFile: inside(directory, credentialsFile) }),
  };
}

function serverUrl(server: string, registry: string): URL {
  const text = /^[a-z]+:\/\//i.test(server) ? server : `https://${server}`;
  const url = URL.parse(text);
  if (url === null || !/^https?:$/.test(url.protocol) || url.username !== "") {
    throw invalidArgument(`hosts of ${registry}: ${JSON.stringify(server)} is not the URL of a server`);
  }
  return url;
}

async function readTls(
  { directory, defaults }: Place,
  { ca, client, skipVerify }: HostEntry,
): Promise<TlsSettings | undefined> {
  if (ca.length === 0 && client.length === 0 && skipVerify === undefined) return defaults.tls;
  const read = async (path: string): Promise<string> => {
    try {
      return await readFile(inside(directory, path), "utf8");
    } catch (error) {
      throw wrapError(error, "read a certificate of a registry host");
    }
  };
  return joinTls(defaults.tls, {
    authorities: await Promise.all(ca.map(read)),
    clientCertificates: await Promise.all(
      client.map(async ([certificate, key]) => ({ certificate: await read(certificate), key: await read(key) })),
    ),
    ...(skipVerify !== undefined && { skipVerify }),
  });
}

/** Authorities and certificates of both; whether anybody is believed is for the host's own to say, if it does. */
function joinTls(
  client: TlsSettings | undefined,
  own: Omit<TlsSettings, "skipVerify"> & Partial<Pick<TlsSettings, "skipVerify">>,
): TlsSettings {
  const { authorities = [], clientCertificates = [], skipVerify = false } = client ?? {};
  return {
    authorities: [...authorities, ...own.authorities],
    clientCertificates: [...clientCertificates, ...own.clientCertificates],
    skipVerify: own.skipVerify ?? skipVerify,
  };
}

function inside(directory: string, path: string): string {
  return isAbsolute(path) ? path : join(directory, path);
}
