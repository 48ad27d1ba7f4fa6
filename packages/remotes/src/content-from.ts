import { failedPrecondition } from "@berth/errors";
import type { Descriptor } from "@berth/oci";

import type { HttpResponse } from "./http/exchange.ts";

/**
 * This yields what an answer has of content from an offset on, whether or not the server knows ranges.
 *
 * @throws failed_precondition - another range than the one that was asked for
 */
export async function* contentFrom(
  response: HttpResponse,
  descriptor: Descriptor,
  offset: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  if (response.status === 206) {
    checkRange(response, offset, descriptor);
    yield* response.body;
    return;
  }
  let skip = offset;
  for await (const chunk of response.body) {
    if (skip < chunk.length) yield chunk.subarray(skip);
    skip = Math.max(0, skip - chunk.length);
  }
}

/** A range that is not the one asked for, or one of other content, would be taken for it. */
function checkRange(response: HttpResponse, offset: number, { digest, size }: Descriptor): void {
  const range = response.header("content-range") ?? "";
  const [, start, total] = /^bytes (\d+)-\d+(?:\/(\d+|\*))?$/.exec(range) ?? [];
  const isOther = total !== undefined && total !== "*" && Number(total) !== size;
  if (start === undefined || Number(start) !== offset || isOther) {
    void response.discard();
    throw failedPrecondition(
      `fetch ${digest}: asked for bytes from ${offset} of ${size}, ${response.url.host} sends ${JSON.stringify(range)}`,
    );
  }
}
