import type { CallOptions } from "@berth/core/any";
import {
  failedPrecondition,
  invalidArgument,
  isNotFound,
  isUnavailable,
  isDeadlineExceeded,
  unavailable,
} from "@berth/errors";
import type { Descriptor } from "@berth/oci";
import { isIndexType, isManifestType } from "@berth/oci";

import { askHosts } from "./ask-hosts.ts";
import { contentFrom } from "./content-from.ts";
import { fetchElsewhere } from "./fetch-elsewhere.ts";
import type { RegistryHost } from "./hosts/registry-host.ts";
import type { HttpResponse } from "./http/exchange.ts";
import type { PartSettings, Stretch } from "./parts-ahead.ts";
import { PartsAhead } from "./parts-ahead.ts";
import type { RateLimit } from "./rate-limit.ts";
import { registryError } from "./registry-error.ts";
import type { RegistryRequests } from "./registry-requests.ts";
import { repositoryScope } from "./scopes.ts";

/** So often a download goes on after its connection broke without a byte in between. */
const MAX_FRUITLESS = 3;
/** What servers answer that mind being asked for a range, instead of giving all. */
const RANGE_REFUSED: ReadonlySet<number> = new Set([400, 416, 501]);

/** Options of a download. */
export interface FetchOptions extends CallOptions {
  /** Where to begin, in bytes. */
  readonly offset?: number;
}

/** Where downloads go. */
export interface FetchSource {
  readonly requests: RegistryRequests;
  readonly hosts: readonly RegistryHost[];
  readonly limit: RateLimit | undefined;
  /** Absent: everything comes in one piece. */
  readonly parts?: PartSettings | undefined;
}

/**
 * This downloads content, from `offset` to exactly the size of its descriptor. A broken connection is taken up again where it broke, on any of the hosts; a server that does not know
 * ranges costs the bytes that are there already. The digest is for the reader to verify.
 *
 * @throws not_found - no host has it
 * @throws failed_precondition - more bytes than the descriptor says
 * @throws unavailable - the connection keeps breaking
 * @throws invalid_argument - the size is 0, or the offset beyond it
 */
export async function* fetchContent(
  source: FetchSource,
  descriptor: Descriptor,
  options: FetchOptions = {},
): AsyncIterable<Uint8Array> {
  const { size } = descriptor;
  let offset = options.offset ?? 0;
  if (size <= 0) throw invalidArgument(`fetch ${descriptor.digest}: the descriptor has size ${size}`);
  if (offset < 0 || offset > size) throw invalidArgument(`fetch ${descriptor.digest}: offset ${offset} of ${size}`);
  const inline = inlineData(descriptor);
  if (inline !== undefined) {
    yield inline.subarray(offset);
    return;
  }
  const { parts } = source;
  await using ahead =
    parts === undefined || size - offset <= parts.bytes
      ? undefined
      : new PartsAhead(size, parts, (stretch, call) => openPart(source, descriptor, stretch, call), options);
  for (let [fruitless, isFirst] = [0, true]; offset < size; isFirst = false) {
    const before = offset;
    try {
      for await (const chunk of ahead?.take(offset) ??
        readOn(source, descriptor, offset, { ...options, isFirst, ahead })) {
        if (offset + chunk.length > size)
          throw failedPrecondition(`fetch ${descriptor.digest}: more than ${size} bytes come`);
        offset += chunk.length;
        yield chunk;
      }
    } catch (error) {
      options.signal?.throwIfAborted();
      if (!isUnavailable(error) && !isDeadlineExceeded(error)) throw error;
      fruitless = offset > before ? 0 : fruitless + 1;
      if (fruitless >= MAX_FRUITLESS) throw error;
    }
  }
}

/** Content that travels inside its descriptor, if it is whole. */
function inlineData({ data, size }: Descriptor): Uint8Array | undefined {
  if (data === undefined) return undefined;
  const bytes = Buffer.from(data, "base64");
  return bytes.length === size ? bytes : undefined;
}

/** How one piece of a download is read. */
interface ReadOnOptions extends CallOptions {
  readonly isFirst: boolean;
  readonly ahead: PartsAhead | undefined;
}

/** This reads from an offset on: to the end, or to where a part begins that is fetched already. */
async function* readOn(
  source: FetchSource,
  descriptor: Descriptor,
  offset: number,
  { isFirst, ahead, ...options }: ReadOnOptions,
): AsyncIterable<Uint8Array> {
  const { size, digest } = descriptor;
  using _turn = ahead && (await source.parts?.requests.acquire(options));
  const elsewhere = isFirst ? await fetchElsewhere(source.requests, descriptor, offset, options) : undefined;
  const stretch = ahead?.stretchFrom(offset) ?? { from: offset, to: size };
  const response = elsewhere ? undefined : await openAnywhere(source, descriptor, stretch, options);
  const isPart = response !== undefined && isPartOf(response, stretch);
  if (response !== undefined && !isPart) ahead?.stop();
  const to = isPart ? stretch.to : size;
  let at = offset;
  for await (const chunk of elsewhere ?? (response && contentFrom(response, descriptor, offset)) ?? []) {
    await source.limit?.pass(chunk.length, options);
    // From the end of this piece on, or from where it will not have come for a while.
    if (isPart) ahead?.fill(stretch.to < size ? stretch.to : at + chunk.length + (source.parts?.bytes ?? 0));
    const end = Math.min(to, ahead?.limitFrom(offset) ?? size);
    // What is too much of all is for the caller to refuse.
    const wanted = end === size ? chunk : chunk.subarray(0, Math.max(0, end - at));
    at += wanted.length;
    if (wanted.length > 0) yield wanted;
    // Only an answer that ends here is read to its end, which leaves the connection for others.
    if (at === end && (end < to || wanted.length < chunk.length)) return;
  }
  if (at < to) throw unavailable(`fetch ${digest}: the connection ended after ${at} of ${size} bytes`);
}

/** A server that minds where a range begins and not where it ends gives all the rest at once, and says so. */
function isPartOf(response: HttpResponse, { to }: Stretch): boolean {
  const last = /^bytes \d+-(\d+)/.exec(response.header("content-range") ?? "")?.[1];
  return response.status === 206 && (last === undefined || Number(last) < to);
}

/** This opens one part of content; `undefined` when the server gives all instead. */
async function openPart(
  source: FetchSource,
  descriptor: Descriptor,
  stretch: Stretch,
  options: CallOptions,
): Promise<AsyncIterable<Uint8Array> | undefined> {
  const response = await openAnywhere(source, descriptor, stretch, options);
  if (response.status === 206) return limited(source, contentFrom(response, descriptor, stretch.from), options);
  await response.discard();
  return undefined;
}

async function* limited(
  { limit }: FetchSource,
  chunks: AsyncIterable<Uint8Array>,
  options: CallOptions,
): AsyncIterable<Uint8Array> {
  for await (const chunk of chunks) {
    await limit?.pass(chunk.length, options);
    yield chunk;
  }
}

/** Manifests are looked for among manifests, then, like everything else, among blobs. */
async function openAnywhere(
  source: FetchSource,
  descriptor: Descriptor,
  stretch: Stretch,
  options: CallOptions,
): Promise<HttpResponse> {
  const isManifest = isIndexType(descriptor.mediaType) || isManifestType(descriptor.mediaType);
  const open = (kind: "manifests" | "blobs"): Promise<HttpResponse> =>
    askHosts(
      source.hosts,
      ["pull"],
      (host, isLast) => openOn(source, { host, isLast, kind }, descriptor, stretch, options),
      options,
    );
  if (!isManifest) return await open("blobs");
  try {
    return await open("manifests");
  } catch (error) {
    if (!isNotFound(error)) throw error;
    return await open("blobs");
  }
}

async function openOn(
  { requests, parts }: FetchSource,
  {
    host,
    isLast,
    kind,
  }: { readonly host: RegistryHost; readonly isLast: boolean; readonly kind: "manifests" | "blobs" },
  { mediaType, digest, size }: Descriptor,
  { from, to }: Stretch,
  options: CallOptions,
): Promise<HttpResponse> {
  const ask = (range: { readonly range?: string }): Promise<HttpResponse> =>
    requests.send(host, {
      method: "GET",
      path: `/${kind}/${digest}`,
      headers: { accept: `${mediaType}, */*`, ...range },
      scopes: [repositoryScope(requests.repository, "pull")],
      isLast,
      ...options,
    });
  // Also of all, where parts are wanted: the answer says whether the server gives any.
  const isRange = from > 0 || to < size || (parts !== undefined && size > parts.bytes);
  let response = await ask(isRange ? { range: `bytes=${from}-${to < size ? to - 1 : ""}` } : {});
  if (isRange && from === 0 && RANGE_REFUSED.has(response.status)) {
    await response.discard();
    response = await ask({});
  }
  if (response.status === 200 || response.status === 206) return response;
  throw await registryError(response, `fetch ${digest}`);
}
