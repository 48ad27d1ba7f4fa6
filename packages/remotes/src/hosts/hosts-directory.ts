import { readFile, stat } from "node:fs/promises";
import { isAbsolute, join } from "node:path";

import type { Logger } from "@berth/core/log";
import { invalidArgument, isNotFound, messageOf, wrapError } from "@berth/errors";

import { readCertificateDirectory } from "./certificate-directory.ts";
import { defaultHost, isPlainByDefault } from "./default-host.ts";
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
  log: Logger,
): Promise<readonly RegistryHost[] | undefined> {
  const directory = await findDirectory(roots, registry);
  if (directory === undefined) return undefined;
  const file = await readHostsFile(directory, log);
  if (file === undefined) {
    const tls = await readCertificateDirectory(directory);
    const upstream = defaultHost(registry);
    return [tls === undefined ? upstream : withTls(upstream, tls)];
  }
  const mirrors = await Promise.all(file.hosts.map((entry) => toHost(directory, entry, registry)));
  return [...mirrors, await upstreamOf(directory, file.server, registry)];
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
    return parseHostsToml(text);
  } catch (error) {
    log.error("failed to decode hosts.toml", { path, error: messageOf(error) });
    return undefined;
  }
}

/** Without `server`, the registry is asked as if nothing were configured, and with all capabilities. */
async function upstreamOf(directory: string, entry: HostEntry, registry: string): Promise<RegistryHost> {
  if (entry.server !== "") return await toHost(directory, entry, registry);
  const { capabilities: _ignored, ...settings } = entry;
  const upstream = defaultHost(registry);
  const host = await toHost(directory, { ...settings, server: `${upstream.scheme}://${upstream.host}` }, registry);
  return { ...host, path: "/v2" };
}

async function toHost(directory: string, entry: HostEntry, registry: string): Promise<RegistryHost> {
  const url = serverUrl(entry.server, registry);
  const tls = await readTls(directory, entry);
  const scheme = url.protocol === "http:" ? "http" : "https";
  const path = url.pathname.replace(/\/+$/, "");
  const base: RegistryHost = {
    scheme,
    host: url.host,
    path: entry.overridePath || path.endsWith("/v2") ? path : `${path}/v2`,
    capabilities: entry.capabilities === undefined ? ALL_CAPABILITIES : new Set(entry.capabilities),
    headers: entry.headers,
    ...(entry.dialTimeoutMs !== undefined && { dialTimeoutMs: entry.dialTimeoutMs }),
    ...(entry.proxy !== undefined && { proxy: entry.proxy }),
    ...(entry.credentialsFile !== undefined && { credentialsFile: inside(directory, entry.credentialsFile) }),
  };
  return tls === undefined ? base : withTls(base, tls);
}

function serverUrl(server: string, registry: string): URL {
  const scheme = isPlainByDefault(server) ? "http" : "https";
  const text = /^[a-z]+:\/\//i.test(server) ? server : `${scheme}://${server}`;
  const url = URL.parse(text);
  if (url === null || !/^https?:$/.test(url.protocol) || url.username !== "") {
    throw invalidArgument(`hosts of ${registry}: ${JSON.stringify(server)} is not the URL of a server`);
  }
  return url;
}

async function readTls(directory: string, entry: HostEntry): Promise<TlsSettings | undefined> {
  if (entry.ca.length === 0 && entry.client.length === 0 && entry.skipVerify === undefined) return undefined;
  const read = async (path: string): Promise<string> => {
    try {
      return await readFile(inside(directory, path), "utf8");
    } catch (error) {
      throw wrapError(error, "read a certificate of a registry host");
    }
  };
  return {
    authorities: await Promise.all(entry.ca.map(read)),
    clientCertificates: await Promise.all(
      entry.client.map(async ([certificate, key]) => ({ certificate: await read(certificate), key: await read(key) })),
    ),
    skipVerify: entry.skipVerify ?? false,
  };
}

function inside(directory: string, path: string): string {
  return isAbsolute(path) ? path : join(directory, path);
}
