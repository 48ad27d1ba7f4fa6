import { invalidArgument } from "@berth/errors";

/** What a host may be asked for. */
export type Capability = "pull" | "resolve" | "push" | "referrers";

export const ALL_CAPABILITIES: ReadonlySet<Capability> = new Set(["pull", "resolve", "push", "referrers"]);

/** How a host is recognised, and how it recognises us. All in PEM. */
export interface TlsSettings {
  /** Authorities that are trusted beside the system's. */
  readonly authorities: readonly string[];
  readonly clientCertificates: readonly { readonly certificate: string; readonly key: string }[];
  readonly skipVerify: boolean;
}

/** A user's name and secret, or a refresh token alone. */
export interface Credentials {
  /** Empty when `secret` is a refresh token. */
  readonly username: string;
  readonly secret: string;
  /** Sent as `Authorization`, as it is, whatever the host asks for; name and secret then do not count. */
  readonly header?: string;
}

/** One server that may be asked for the images of a registry: the registry itself or a mirror. */
export interface RegistryHost {
  readonly scheme: "http" | "https";
  /** With its port, if it is not the usual one. */
  readonly host: string;
  /** Where the API begins, `/v2` or what a mirror has; without a slash at its end. */
  readonly path: string;
  readonly capabilities: ReadonlySet<Capability>;
  /** Sent with every request, to its token server too. */
  readonly headers: ReadonlyMap<string, readonly string[]>;
  /** Absent: the system's authorities, no certificate of our own. */
  readonly tls?: TlsSettings;
  readonly dialTimeoutMs?: number;
  /** URL of a proxy for this host; absent: what the environment says. */
  readonly proxy?: string;
  /** Read when the host asks who is there. */
  readonly credentialsFile?: string;
  /** Ask by `https` first, and by `http` when the host does not speak TLS. */
  readonly triesTls?: boolean;
}

/**
 * This returns the origin of a host as URLs have it, `https://example.org:5000`, without the usual port and in lower case: what credentials are bound to.
 *
 * @throws invalid_argument - no URL has such a host
 */
export function originOf({ scheme, host }: Pick<RegistryHost, "scheme" | "host">): string {
  const url = URL.parse(`${scheme}://${host}`);
  if (url === null) throw invalidArgument(`${JSON.stringify(host)} is not the name of a host`);
  return url.origin;
}

/** This says whether a URL is the host's own: what is bound to the host may go there, and by TLS rather than without. */
export function isOwnUrl({ scheme, host }: Pick<RegistryHost, "scheme" | "host">, { origin }: URL): boolean {
  return origin === originOf({ scheme: "https", host }) || origin === originOf({ scheme, host });
}

/** Of plain HTTP: who names it does not expect TLS. */
export const HTTP_PORT = "80";

/** This gives a host its TLS. One that is asked by plain HTTP, on a port that does not say so, is tried by TLS first. */
export function withTls(host: RegistryHost, tls: TlsSettings): RegistryHost {
  const port = /:(\d+)$/.exec(host.host)?.[1];
  const isPlain = host.scheme === "http" && port !== undefined && port !== HTTP_PORT;
  return { ...host, tls, ...(isPlain && { triesTls: true }) };
}
