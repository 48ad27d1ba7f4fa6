import type { Readable } from "node:stream";

import { raceSignal } from "@berth/core/race-signal";
import { failedPrecondition, internal, wrapError } from "@berth/errors";
import type { Dispatcher } from "undici";
import { request } from "undici";

import { bodyChunks } from "./body-chunks.ts";
import type { HttpWatcher } from "./http-step.ts";
import { beginStep } from "./http-step.ts";
import { toTransportError } from "./transport-error.ts";

const MAX_REDIRECTS = 10;
/** A connection is worth so much of a body that nobody wants, and so long a wait for it. */
const DISCARD_BYTES = 64 * 1024;
const DISCARD_MS = 1000;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);
/** Whatever names its bearer stays with the origin that it was made for. */
const BOUND_TO_ORIGIN: ReadonlySet<string> = new Set(["authorization", "cookie", "proxy-authorization"]);

/** This says whether a header names its bearer, so that no other origin may see it. */
export function isBoundToOrigin(name: string): boolean {
  return BOUND_TO_ORIGIN.has(name.toLowerCase());
}

/** One request; a body is made anew for each attempt. */
export interface HttpRequest {
  readonly method: string;
  readonly url: URL;
  /** By names in lower case. */
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  readonly body?: HttpBody;
  /** The body holds a secret: it goes to no other origin. */
  readonly isSecret?: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** Connections by which a URL is asked, and who is told of that. */
export interface Pool {
  readonly dispatcher: Dispatcher;
  readonly watch?: HttpWatcher | undefined;
}

/** This gives the connections for a URL. */
export type PoolOf = (url: URL) => Pool;

/** What is sent, of known length. */
export interface HttpBody {
  readonly length: number;
  /** A chunk, but for the last, is of 64 KiB or more; it is sent when the next one is asked for. */
  open(): AsyncIterable<Uint8Array>;
}

/** An answer. Its body must be read to the end, or discarded. */
export interface HttpResponse {
  readonly status: number;
  /** Of the request that was answered: redirects change it. */
  readonly url: URL;
  header(name: string): string | undefined;
  headers(name: string): readonly string[];
  /** Errors of the connection come as `unavailable`. */
  readonly body: AsyncIterable<Uint8Array>;
  /** This drops the body, and the connection if much is left or is long in coming. */
  discard(): Promise<void>;
}

/**
 * This sends a request and follows redirects, at most 10, each by the connections of its own URL. Headers that are bound to an origin are left out once a redirect leaves it.
 * What reads the body is closed when the request has failed, or the answer is read or discarded.
 *
 * @throws unavailable - no connection, or none that lasted; deadline_exceeded - no progress; the reason of the signal
 * @throws failed_precondition - a certificate that is not trusted, or a redirect that would carry a secret away
 * @throws internal - too many redirects, or one to nowhere
 */
export async function exchange(poolOf: PoolOf, first: HttpRequest): Promise<HttpResponse> {
  let current = first;
  for (let followed = 0; ; followed += 1) {
    const response = await exchangeOnce(poolOf(current.url), current);
    const location = response.header("location");
    if (!REDIRECTS.has(response.status) || location === undefined) return response;
    await response.discard();
    if (followed === MAX_REDIRECTS)
      throw internal(`${first.method} ${printable(first.url)}: more than ${MAX_REDIRECTS} redirects`);
    current = redirected(current, location, response.status);
  }
}

/** This returns a URL without what may be secret in it: its user and its query. */
export function printable(url: URL): string {
  return `${url.origin}${url.pathname}`;
}

async function exchangeOnce({ dispatcher, watch }: Pool, asked: HttpRequest): Promise<HttpResponse> {
  const { method, url, headers, body, signal } = asked;
  signal?.throwIfAborted();
  const step = watch && beginStep(watch, asked);
  const source = body && body.length > 0 ? new BodySource(body) : undefined;
  try {
    const asking = request(url, {
      dispatcher,
      // Methods are ours.
      method: method as Dispatcher.HttpMethod,
      headers: { ...mutable(headers), ...(body && { "content-length": String(body.length) }) },
      // Not a stream of it: that would ask for a chunk before the last one is sent. Undici takes anything that can be iterated; its types forget to say so.
      body: source === undefined ? null : (source as unknown as Readable),
      signal: signal ?? null,
      // Undici would close the connection after HEAD, lest a body follow: a push would make two connections, with their handshakes, for each blob. A body that does come is no answer to anything and closes it.
      ...(method === "HEAD" && { reset: false }),
    });
    // Undici hears of the signal once there is a connection.
    const answer = await raceSignal(asking, signal);
    // Not yet at the answer, which may come before all is sent: what is cut short then may cost the rest of the answer.
    answer.body.once("close", () => source?.close());
    const response = toResponse(answer, url, signal);
    step?.answered(response.status, response.header);
    return response;
  } catch (error) {
    step?.failed();
    source?.close();
    const failure = signal?.aborted === true ? undefined : source?.failure;
    if (failure !== undefined) throw wrapError(failure.error, `${method} ${printable(url)}: read what is to be sent`);
    throw toTransportError(error, `${method} ${printable(url)}`, signal);
  }
}

/**
 * A body that remembers that it could not be read, which is no failure of the connection, and that can be closed from outside: undici leaves it where it is when a request ends
 * before all is sent.
 */
class BodySource implements AsyncIterable<Uint8Array> {
  readonly #body: HttpBody;
  readonly #readers = new Set<AsyncGenerator<Uint8Array, void, undefined>>();
  failure: { readonly error: unknown } | undefined;

  constructor(body: HttpBody) {
    this.#body = body;
  }

  /** This ends whatever reads the body, at once or after the chunk that is being read; it is not waited for. */
  close(): void {
    // How a reader that nobody needs ends is nobody's business.
    for (const reader of this.#readers) void reader.return().catch(() => {});
  }

  [Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    const reader = this.#read();
    this.#readers.add(reader);
    return reader;
  }

  async *#read(): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      yield* this.#body.open();
    } catch (error) {
      this.failure = { error };
      throw error;
    }
  }
}

function toResponse(answer: Dispatcher.ResponseData, url: URL, signal: AbortSignal | undefined): HttpResponse {
  const headers = (name: string): readonly string[] => [answer.headers[name] ?? []].flat();
  return {
    status: answer.statusCode,
    url,
    headers,
    header: (name) => headers(name)[0],
    body: readBody(answer.body, url, signal),
    // A body that was read or has failed already has nothing to drop.
    discard: () => answer.body.dump({ limit: DISCARD_BYTES, signal: AbortSignal.timeout(DISCARD_MS) }).catch(() => {}),
  };
}

async function* readBody(body: Readable, url: URL, signal: AbortSignal | undefined): AsyncIterable<Uint8Array> {
  try {
    yield* bodyChunks(body);
  } catch (error) {
    throw toTransportError(error, `read ${printable(url)}`, signal);
  }
}

function redirected(request: HttpRequest, location: string, status: number): HttpRequest {
  const url = URL.parse(location, request.url.href);
  if (url === null || !/^https?:$/.test(url.protocol)) {
    const shown = JSON.stringify(location.replace(/\?.*$/s, "").slice(0, 200));
    throw internal(`${printable(request.url)} redirects to ${shown}, which is no URL`);
  }
  const isSameOrigin = url.origin === request.url.origin;
  const headers = Object.entries(request.headers).filter(([name]) => isSameOrigin || !isBoundToOrigin(name));
  // As browsers do: what was asked for elsewhere is fetched, what was to be changed is changed there.
  const becomesGet = status === 303 && request.method !== "HEAD";
  if (request.isSecret === true && !isSameOrigin && !becomesGet) {
    throw failedPrecondition(`${printable(request.url)} redirects to ${url.origin}: credentials are not sent there`);
  }
  const { body, ...rest } = request;
  return {
    ...rest,
    url,
    headers: Object.fromEntries(headers),
    ...(becomesGet ? { method: "GET" } : body && { body }),
  };
}

function mutable(headers: HttpRequest["headers"]): Record<string, string | string[]> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, typeof value === "string" ? value : [...value]]),
  );
}
