import type { Credentials } from "../hosts/registry-host.ts";

/**
 * Where the credentials of a registry come from, by its host (`registry-1.docker.io`, `example.org:5000`). They are used for that host and for the token
 * server that it names, nowhere else.
 */
export type CredentialSource = (
  host: string,
  options?: { readonly signal?: AbortSignal },
) => Promise<Credentials | undefined>;

/** This asks several sources in turn; the first that knows a host answers. */
export function firstOf(...sources: readonly CredentialSource[]): CredentialSource {
  return async (host, options) => {
    for (const source of sources) {
      const credentials = await source(host, options);
      if (credentials !== undefined) return credentials;
    }
    return undefined;
  };
}

/** This splits `user:secret`; without a colon, all of it is the name. */
export function parseUser(text: string): Credentials {
  const colon = text.indexOf(":");
  return colon < 0 ? { username: text, secret: "" } : { username: text.slice(0, colon), secret: text.slice(colon + 1) };
}
