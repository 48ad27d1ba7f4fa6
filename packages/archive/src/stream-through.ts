import type { Transform } from "node:stream";

import { releaseBytes, releaseLast } from "./release-bytes.ts";
import { takesMore } from "./takes-more.ts";

/** How {@link through} treats memory. */
export interface ThroughOptions {
  /** A chunk is valid only until the next one is asked for, and the chunks of the source are given away: each is freed at once. */
  readonly isTransient?: boolean | undefined;
  /** Of the buffers that the stream hands its output out in; with `isTransient`. */
  readonly chunkBytes?: number | undefined;
}

/**
 * This yields what a stream of zlib makes of the bytes of `source`, with back-pressure both ways. Leaving the loop closes both; an error of
 * either comes out.
 */
export async function* through(
  source: AsyncIterable<Uint8Array>,
  stream: Transform,
  { isTransient = false, chunkBytes = 0 }: ThroughOptions = {},
): AsyncGenerator<Uint8Array> {
  const feeding = feed(source, stream, isTransient ? releaseBytes : () => {});
  try {
    for await (const chunk of stream) {
      // The streams of zlib yield buffers, which the types of a general stream do not say.
      const bytes = chunk as Uint8Array;
      yield bytes;
      // Such a stream fills a buffer from its start, and takes another one when it is full. What has waited comes joined, in one of Node's.
      if (isTransient) releaseLast(bytes, chunkBytes);
    }
  } finally {
    stream.destroy();
    await feeding;
  }
}

/** Never rejects: an error of the source comes out of the stream. */
async function feed(
  source: AsyncIterable<Uint8Array>,
  stream: Transform,
  taken: (chunk: Uint8Array) => void,
): Promise<void> {
  try {
    for await (const chunk of source) {
      // gzip ended with zeros behind it, as tapes have: whatever follows is not read.
      if (stream.readableEnded || stream.destroyed) return;
      if (!stream.write(chunk, () => taken(chunk))) await takesMore(stream);
    }
    stream.end();
  } catch (error) {
    stream.destroy(error instanceof Error ? error : new Error(String(error)));
  }
}
