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
import type { RateLimit } from "./rate-limit.ts";
import { registryError } from "./registry-error.ts";
import type { RegistryRequests } from "./registry-requests.ts";
import { repositoryScope } from "./scopes.ts";

/** So often a download goes on after its connection broke without a byte in between. */
const MAX_FRUITLESS = 3;
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
  for (let [fruitless, isFirst] = [0, true]; offset < size; isFirst = false) {
    const before = offset;
    try {
      for await (const chunk of openAt(source, descriptor, offset, { ...options, isFirst })) {
        if (offset + chunk.length > size)
          throw failedPrecondition(`fetch ${descriptor.digest}: more than ${size} bytes come`);
        offset += chunk.length;
        await source.limit?.pass(chunk.length, options);
        yield chunk;
      }
      if (offset < size)
        throw unavailable(`fetch ${descriptor.digest}: the connection ended after ${offset} of ${size} bytes`);
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

async function* openAt(
  source: FetchSource,
  descriptor: Descriptor,
  offset: number,
  options: CallOptions & { readonly isFirst: boolean },
): AsyncIterable<Uint8Array> {
  const elsewhere = options.isFirst ? await fetchElsewhere(source.requests, descriptor, offset, options) : undefined;
  yield* elsewhere ?? contentFrom(await openAnywhere(source, descriptor, offset, options), descriptor, offset);
}

/** Manifests are looked for among manifests, then, like everything else, among blobs. */
async function openAnywhere(
  source: FetchSource,
  descriptor: Descriptor,
  offset: number,
  options: CallOptions,
): Promise<HttpResponse> {
  const isManifest = isIndexType(descriptor.mediaType) || isManifestType(descriptor.mediaType);
  const open = (kind: "manifests" | "blobs"): Promise<HttpResponse> =>
    askHosts(
      source.hosts,
      ["pull"],
      (host, isLast) => openOn(source, { host, isLast, kind }, descriptor, offset, options),
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
  { requests }: FetchSource,
  {
    host,
    isLast,
    kind,
  }: { readonly host: RegistryHost; readonly isLast: boolean; readonly kind: "manifests" | "blobs" },
  { mediaType, digest }: Descriptor,
  offset: number,
  options: CallOptions,
): Promise<HttpResponse> {
  const response = await requests.send(host, {
    method: "GET",
    path: `/${kind}/${digest}`,
    headers: {
      accept: `${mediaType}, */*`,
      ...(offset > 0 && { range: `bytes=${offset}-` }),
    },
    scopes: [repositoryScope(requests.repository, "pull")],
    isLast,
    ...options,
  });
  if (response.status === 200 || response.status === 206) return response;
  throw await registryError(response, `fetch ${digest}`);
}
