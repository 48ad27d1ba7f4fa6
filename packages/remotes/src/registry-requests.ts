import { setTimeout as sleep } from "node:timers/promises";

import type { CallOptions } from "@berth/core/any";
import { isDeadlineExceeded, isUnavailable } from "@berth/errors";

import type { Authorizer } from "./auth/authorizer.ts";
import { defaultHost, isUpstream } from "./hosts/default-host.ts";
import type { RegistryHost } from "./hosts/registry-host.ts";
import { isOwnUrl } from "./hosts/registry-host.ts";
import type { Connections } from "./http/connections.ts";
import type { HttpBody, HttpResponse, PoolOf } from "./http/exchange.ts";
import { exchange, isBoundToOrigin } from "./http/exchange.ts";
import { retryDelay } from "./http/retry-delay.ts";
import { isNotTls } from "./http/transport-error.ts";
import { BUSY_STATUSES } from "./registry-error.ts";

const MAX_ATTEMPTS = 5;
/** A connection that fails is tried again soon, and not for long: who waits for it wants to know. */
const TRANSPORT_RETRY_MS = [50, 200];
const SERVER_FAILED: ReadonlySet<number> = new Set([500, 502, 503, 504]);

/** A request of the distribution API, below `/v2/<name>`. */
export interface RegistryRequest extends CallOptions {
  readonly method: "GET" | "HEAD" | "POST" | "PUT" | "PATCH";
  /** Below the repository: `/manifests/latest`. Or a whole URL that the host gave, as of an upload. */
  readonly path: string | URL;
  readonly query?: URLSearchParams;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: HttpBody;
  /** What the token must allow, `repository:<name>:pull`. */
  readonly scopes: readonly string[];
  /** No other host can be asked: then it is waited for while it is busy, and asked again when it fails. Absent where the caller takes up what breaks off: then it is only waited for. */
  readonly isLast?: boolean;
}

interface Answer {
  readonly response: HttpResponse;
  /** What the request was authorised by. */
  readonly authorization: string | undefined;
}

/** Sends requests for one repository to the hosts of its registry: authorised, again where it makes sense, with the parameters of mirrors. */
export class RegistryRequests {
  readonly registry: string;
  readonly repository: string;
  readonly #connections: Connections;
  readonly #authorizer: Authorizer;
  readonly #userAgent: string;
  /** Hosts that were to speak TLS and do not. */
  readonly #plain = new Set<string>();

  constructor(options: {
    readonly registry: string;
    readonly repository: string;
    readonly connections: Connections;
    readonly authorizer: Authorizer;
    readonly userAgent: string;
  }) {
    this.registry = options.registry;
    this.repository = options.repository;
    this.#connections = options.connections;
    this.#authorizer = options.authorizer;
    this.#userAgent = options.userAgent;
  }

  /** This sends a request and returns the answer, whatever its status. @throws as `exchange` and the authorizer do */
  async send(host: RegistryHost, request: RegistryRequest): Promise<HttpResponse> {
    let refusals = 0;
    let lastStatus = 0;
    let failures = 0;
    for (let attempt = 0; ; attempt += 1) {
      const isFinal = attempt === MAX_ATTEMPTS - 1;
      const wait = isFinal ? undefined : TRANSPORT_RETRY_MS[failures];
      const sent = await this.#attempt(host, request, wait === undefined);
      if (sent === undefined) {
        failures += 1;
        await sleep(wait, undefined, { signal: request.signal });
        continue;
      }
      const { response, authorization } = sent;
      if (isFinal) return response;
      const { status } = response;
      if (status === 401) {
        if (authorization !== undefined) refusals += 1;
        if (await this.#isChallenged(host, request, sent, refusals)) continue;
        return response;
      }
      const again =
        (BUSY_STATUSES.has(status) && request.isLast !== false) ||
        (SERVER_FAILED.has(status) && request.isLast === true && status !== lastStatus);
      const delay = again ? retryDelay(attempt, response.header("retry-after")) : undefined;
      if (delay === undefined) return response;
      lastStatus = status;
      await response.discard();
      await sleep(delay, undefined, { signal: request.signal });
    }
  }

  /** This fetches what is no part of a registry: nobody there is told who asks. @throws as `exchange` does */
  async fetchElsewhere(
    url: URL,
    { headers, signal }: CallOptions & { readonly headers: Readonly<Record<string, string>> },
  ): Promise<HttpResponse> {
    const host = { ...defaultHost(url.host), scheme: url.protocol === "http:" ? "http" : "https" } as const;
    return await exchange(this.#poolOf(host), {
      method: "GET",
      url,
      headers: { "user-agent": this.#userAgent, ...headers },
      signal,
    });
  }

  /** This says whether a refused request makes sense once more; if not, the answer is there to be read. @throws as `Authorizer.challenged` does */
  async #isChallenged(
    host: RegistryHost,
    request: RegistryRequest,
    { response, authorization: refused }: Answer,
    refusals: number,
  ): Promise<boolean> {
    await using body = new AsyncDisposableStack();
    // Left where it is, it would keep its connection.
    body.defer(() => response.discard());
    const headers = response.headers("www-authenticate");
    const { scopes } = request;
    if (await this.#authorizer.challenged(host, { headers, scopes, refusals, refused }, request)) return true;
    body.move();
    return false;
  }

  /** One attempt; `undefined` when the connection failed and another one makes sense. */
  async #attempt(host: RegistryHost, request: RegistryRequest, isFinal: boolean): Promise<Answer | undefined> {
    const authorization = await this.#authorizer.authorization(host, request.scopes, this.#connections, request);
    const url = this.#urlOf(host, request);
    // A location that the host gave may be elsewhere, or without TLS: what authorises requests to the host stays with it.
    const isOwn = isOwnUrl(host, url);
    const own = [...host.headers].filter(([name]) => isOwn || !isBoundToOrigin(name));
    const headers = {
      "user-agent": this.#userAgent,
      ...Object.fromEntries(own.map(([name, values]) => [name.toLowerCase(), values])),
      ...request.headers,
      ...(authorization !== undefined && isOwn && { authorization }),
    };
    try {
      const { method, body, signal } = request;
      const response = await exchange(this.#poolOf(host), { method, url, headers, signal, ...(body && { body }) });
      return { response, authorization };
    } catch (error) {
      if (host.triesTls === true && url.protocol === "https:" && isNotTls(error, host.host)) {
        this.#plain.add(host.host);
        return await this.#attempt(host, request, isFinal);
      }
      const isPassing = isUnavailable(error) || isDeadlineExceeded(error);
      if (!isPassing || isFinal || request.isLast !== true || request.signal?.aborted === true) throw error;
      return undefined;
    }
  }

  #poolOf(host: RegistryHost): PoolOf {
    return (url) => this.#connections.poolFor(host, url);
  }

  #urlOf(host: RegistryHost, { path, query }: RegistryRequest): URL {
    if (path instanceof URL) return path;
    const usesTls = host.scheme === "https" || (host.triesTls === true && !this.#plain.has(host.host));
    const url = new URL(`${usesTls ? "https" : "http"}://${host.host}${host.path}/${this.repository}${path}`);
    for (const [name, value] of query ?? []) url.searchParams.append(name, value);
    // What a mirror is asked for the images of another registry is known by this.
    if (!isUpstream(host.host, this.registry)) url.searchParams.set("ns", this.registry);
    return url;
  }
}
