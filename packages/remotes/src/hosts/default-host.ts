import type { RegistryHost, TlsSettings } from "./registry-host.ts";
import { ALL_CAPABILITIES, HTTP_PORT, withTls } from "./registry-host.ts";

const DOCKER_HUB = "docker.io";
const DOCKER_HUB_SERVER = "registry-1.docker.io";
const HTTPS_PORT = "443";

/** What a client says of registries. */
export interface HostDefaults {
  /** Ask by plain HTTP what nothing names a scheme for, but for Docker Hub. */
  readonly plainHttp?: boolean | undefined;
  readonly tls?: TlsSettings | undefined;
}

/**
 * This returns the server of a registry that nothing is configured for. Registries of this machine on a port other than 443 are asked by plain HTTP, but for port 80 by TLS first, where
 * nobody is asked for a certificate that is trusted.
 *
 * @see containerd core/remotes/docker/registry.go, MatchLocalhost; core/remotes/docker/config/hosts.go, ConfigureHosts
 */
export function defaultHost(registry: string, { plainHttp, tls }: HostDefaults = {}): RegistryHost {
  const isForced = plainHttp === true && registry !== DOCKER_HUB;
  const isPlain = isForced || isPlainByDefault(registry);
  const host: RegistryHost = {
    scheme: isPlain ? "http" : "https",
    host: registry === DOCKER_HUB ? DOCKER_HUB_SERVER : registry,
    path: "/v2",
    capabilities: ALL_CAPABILITIES,
    headers: new Map(),
  };
  // Who asks for plain HTTP gets that, whatever is said of TLS.
  if (isForced) return { ...host, ...(tls && { tls }) };
  if (tls !== undefined) return withTls(host, tls);
  return isPlain && portOf(registry) !== HTTP_PORT ? withTls(host, UNVERIFIED) : host;
}

const UNVERIFIED = { authorities: [], clientCertificates: [], skipVerify: true } as const;

/** This says whether a registry without a scheme is asked by plain HTTP. */
function isPlainByDefault(registry: string): boolean {
  const port = portOf(registry);
  return isLocalhost(registry) && port !== "" && port !== HTTPS_PORT;
}

/** This says whether a host, with or without a port, is this machine. */
export function isLocalhost(host: string): boolean {
  const name = host.replace(/:\d+$/, "").replaceAll(/^\[|\]$/g, "");
  return name === "localhost" || name === "::1" || /^127(?:\.\d{1,3}){3}$/.test(name);
}

/** This says whether `host` is the registry's own server, which needs no `ns` parameter. */
export function isUpstream(host: string, registry: string): boolean {
  return host === registry || (registry === DOCKER_HUB && host === DOCKER_HUB_SERVER);
}

function portOf(host: string): string {
  return /:(\d+)$/.exec(host)?.[1] ?? "";
}
