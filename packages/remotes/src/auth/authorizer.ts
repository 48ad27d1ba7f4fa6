import type { CallOptions } from "@berth/core/any";
import { raceSignal } from "@berth/core/race-signal";
import { deadlineExceeded, failedPrecondition, permissionDenied, unauthenticated } from "@berth/errors";

import { isLocalhost } from "../hosts/default-host.ts";
import type { Credentials, RegistryHost } from "../hosts/registry-host.ts";
import { originOf } from "../hosts/registry-host.ts";
import type { Connections, RegistryTimeouts } from "../http/connections.ts";
import { isBoundToOrigin } from "../http/exchange.ts";
import type { Challenge } from "./challenge.ts";
import { parseChallenges } from "./challenge.ts";
import type { CredentialSource } from "./credential-source.ts";
import { readCredentialsFile } from "./credentials-file.ts";
import type { Token } from "./fetch-token.ts";
import { basicAuthorization, fetchToken } from "./fetch-token.ts";
import { TokenCache } from "./token-cache.ts";

interface Bearer {
  readonly kind: "bearer";
  readonly realm: URL;
  readonly service: string;
  readonly credentials: Credentials | undefined;
}

const BEARER = "Bearer ";
const TOKEN_MS = 30_000;

/** A request that was answered with 401. */
interface Refusal {
  /** Its challenges. */
  readonly headers: readonly string[];
  readonly scopes: readonly string[];
  /** How many attempts with an authorisation were refused: after the first a token is thrown away, and a password wrong. */
  readonly refusals: number;
  /** The authorisation of this one. */
  readonly refused: string | undefined;
}

/** What a host has asked for, once it has. */
type Scheme = { readonly kind: "fixed"; readonly value: string } | Bearer;

/**
 * Authorises requests of one user to registries. What a host asks for is remembered for its origin; tokens are shared by requests of the same scopes, and fetched once for all who
 * wait. Credentials go to the host that they are for and to the token server that it names.
 */
export class Authorizer {
  readonly #credentials: CredentialSource | undefined;
  readonly #schemes = new Map<string, Scheme>();
  readonly #tokens = new TokenCache();
  readonly #tokenMs: number;

  constructor(credentials: CredentialSource | undefined, { tokenMs = TOKEN_MS }: RegistryTimeouts = {}) {
    this.#credentials = credentials;
    this.#tokenMs = tokenMs;
  }

  /**
   * This returns the `Authorization` of a request, `undefined` while the host has asked for none.
   *
   * @throws unauthenticated; deadline_exceeded - no token in time; the reason of the signal
   */
  async authorization(
    host: RegistryHost,
    scopes: readonly string[],
    connections: Connections,
    { signal }: CallOptions = {},
  ): Promise<string | undefined> {
    const scheme = this.#schemes.get(originOf(host));
    if (scheme === undefined) return undefined;
    if (scheme.kind === "fixed") return scheme.value;
    // Others may wait for it too: it is fetched whoever goes away.
    const token = await raceSignal(this.#token(host, scheme, scopes, connections), signal);
    return `${BEARER}${token.value}`;
  }

  /**
   * This takes the challenges of a 401 and returns whether another attempt makes sense.
   *
   * @throws unauthenticated - credentials are needed or wrong; permission_denied - a token does not go that far
   */
  async challenged(
    host: RegistryHost,
    { headers, scopes, refusals, refused }: Refusal,
    options: CallOptions = {},
  ): Promise<boolean> {
    const challenges = parseChallenges(headers);
    for (const challenge of challenges) {
      if (challenge.scheme === "bearer" && challenge.parameters.has("realm")) {
        return await this.#takeBearer(host, { challenge, scopes, refusals, refused }, options);
      }
      if (challenge.scheme === "basic") {
        const credentials = await this.#find(host, options);
        if (credentials === undefined) throw unauthenticated(`${host.host} asks for a user and a password`);
        if (this.#takesHeader(host, credentials, refusals)) return true;
        if (refusals > 0)
          throw unauthenticated(
            `${host.host} refuses the user ${JSON.stringify(credentials.username)} or the password`,
          );
        this.#schemes.set(originOf(host), { kind: "fixed", value: basicAuthorization(credentials) });
        return true;
      }
    }
    return false;
  }

  /** A user who says what is to be sent need not be asked in the host's way. */
  #takesHeader(host: RegistryHost, credentials: Credentials | undefined, refusals: number): boolean {
    if (credentials?.header === undefined) return false;
    if (refusals > 0) throw unauthenticated(`${host.host} refuses the header that it was sent`);
    this.#schemes.set(originOf(host), { kind: "fixed", value: credentials.header });
    return true;
  }

  async #takeBearer(
    host: RegistryHost,
    { challenge, scopes, refusals, refused }: Omit<Refusal, "headers"> & { readonly challenge: Challenge },
    options: CallOptions,
  ): Promise<boolean> {
    const { parameters } = challenge;
    if (refusals > 0 && parameters.get("error") === "insufficient_scope")
      throw permissionDenied(`${host.host}: the user may not ${scopes.join(", ")}`);
    if (refusals > 1) throw unauthenticated(`${host.host} refuses the token that its token server gave`);
    if (refused !== undefined) this.#tokens.drop(tokenKey(host, scopes), refused.slice(BEARER.length));
    const credentials = await this.#find(host, options);
    if (this.#takesHeader(host, credentials, refusals)) return true;
    const realm = checkRealm(parameters.get("realm") ?? "", host, credentials);
    this.#schemes.set(originOf(host), { kind: "bearer", realm, service: parameters.get("service") ?? "", credentials });
    return true;
  }

  #token(host: RegistryHost, scheme: Bearer, scopes: readonly string[], connections: Connections): Promise<Token> {
    const { protocol, host: name } = scheme.realm;
    // The token server that a host names is recognised, and recognises us, as the host itself.
    const server: RegistryHost = { ...host, scheme: protocol === "http:" ? "http" : "https", host: name };
    const poolOf = (url: URL) => connections.poolFor(server, url);
    const headers = headersFor(host, scheme.realm);
    return this.#tokens.get(tokenKey(host, scopes), async () => {
      const late = new AbortController();
      const timer = setTimeout(() => late.abort(deadlineExceeded(`${name} gave no token in time`)), this.#tokenMs);
      try {
        return await fetchToken(poolOf, { ...scheme, scopes: [...scopes].sort(), headers, signal: late.signal });
      } finally {
        clearTimeout(timer);
      }
    });
  }

  async #find(host: RegistryHost, { signal }: CallOptions): Promise<Credentials | undefined> {
    if (host.credentialsFile !== undefined) return await readCredentialsFile(host.credentialsFile);
    return await this.#credentials?.(host.host, signal === undefined ? {} : { signal });
  }
}

function tokenKey(host: RegistryHost, scopes: readonly string[]): string {
  return `${originOf(host)} ${[...scopes].sort().join(" ")}`;
}

/** A token server elsewhere is told what the host is, but not what names us to the host. */
function headersFor(host: RegistryHost, { origin }: URL): RegistryHost["headers"] {
  if (origin === originOf(host)) return host.headers;
  return new Map([...host.headers].filter(([name]) => !isBoundToOrigin(name)));
}

/** A realm comes from the network: it must not make a user's secret travel in the clear. */
function checkRealm(text: string, host: RegistryHost, credentials: Credentials | undefined): URL {
  const realm = URL.parse(text);
  if (realm === null || !/^https?:$/.test(realm.protocol) || realm.username !== "") {
    throw failedPrecondition(
      `${host.host} names ${JSON.stringify(text.slice(0, 200))} as its token server, which is no URL`,
    );
  }
  const isExposed = realm.protocol === "http:" && host.scheme === "https" && !isLocalhost(realm.host);
  if (isExposed && credentials !== undefined) {
    throw failedPrecondition(
      `${host.host} names ${realm.origin} as its token server: credentials are not sent there without TLS`,
    );
  }
  return realm;
}
