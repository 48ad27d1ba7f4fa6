import type { CallOptions } from "@berth/core/any";
import { deadlineExceeded, failedPrecondition } from "@berth/errors";
import type { Descriptor } from "@berth/oci";

import { contentFrom } from "./content-from.ts";
import type { HttpResponse } from "./http/exchange.ts";
import type { RegistryRequests } from "./registry-requests.ts";

/** So many of the places that a descriptor names are asked. */
const MAX_URLS = 8;
/** So long they have together, until the first byte comes. */
const START_MS = 30_000;

/**
 * This fetches content from where its descriptor says that it is, as it does of layers that may not be spread; `undefined` when nothing comes from there that could be it, which
 * the registry may have all the same. What comes is verified like all else; who is there is told nothing of the user, and asked no second time when it breaks off.
 *
 * @throws the reason of the signal; later also unavailable, as the connection breaks
 */
export async function fetchElsewhere(
  requests: RegistryRequests,
  descriptor: Descriptor,
  offset: number,
  { signal }: CallOptions,
): Promise<AsyncIterable<Uint8Array> | undefined> {
  const deadline = new AbortController();
  const timer = setTimeout(() => deadline.abort(deadlineExceeded("no byte in time")), START_MS);
  const either = signal === undefined ? deadline.signal : AbortSignal.any([signal, deadline.signal]);
  try {
    for (const text of (descriptor.urls ?? []).slice(0, MAX_URLS)) {
      const url = URL.parse(text);
      if (url === null || !/^https?:$/.test(url.protocol) || deadline.signal.aborted) continue;
      try {
        return await start(requests, url, { descriptor, offset, signal: either });
      } catch (error) {
        if (signal?.aborted === true) throw error;
      }
    }
    return undefined;
  } finally {
    clearTimeout(timer);
  }
}

/** This returns the content at a URL when the first of it is there. */
async function start(
  requests: RegistryRequests,
  url: URL,
  { descriptor, offset, signal }: { descriptor: Descriptor; offset: number; signal: AbortSignal },
): Promise<AsyncIterable<Uint8Array>> {
  const headers = offset > 0 ? { range: `bytes=${offset}-` } : {};
  const response = await requests.fetchElsewhere(url, { headers, signal });
  if (!couldBe(response, descriptor, offset)) {
    await response.discard();
    throw failedPrecondition(`${url.host} does not have ${descriptor.digest}`);
  }
  const content = contentFrom(response, descriptor, offset);
  const first = await content.next();
  if (first.done === true) throw failedPrecondition(`${url.host} has nothing of ${descriptor.digest}`);
  return joined(first.value, content, descriptor.size - offset);
}

/** A page that says that there is nothing any more comes with status 200 too, often without its length. */
function couldBe({ status, header }: HttpResponse, { size }: Descriptor, offset: number): boolean {
  if (status !== 200 && status !== 206) return false;
  if (/^text\/html\b/i.test(header("content-type") ?? "")) return false;
  const length = header("content-length");
  return length === undefined || Number(length) === (status === 206 ? size - offset : size);
}

/** No more than what is missing: with more than that, what came is for its reader to refuse, who then begins afresh. */
async function* joined(
  first: Uint8Array,
  rest: AsyncGenerator<Uint8Array, void, undefined>,
  limit: number,
): AsyncIterable<Uint8Array> {
  let left = limit;
  try {
    for (let next = first; ;) {
      const part = next.subarray(0, left);
      left -= part.length;
      yield part;
      const more = left > 0 ? await rest.next() : undefined;
      if (more === undefined || more.done === true) return;
      next = more.value;
    }
  } finally {
    await rest.return();
  }
}
