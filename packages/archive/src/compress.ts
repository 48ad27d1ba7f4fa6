import { createGzip, createZstdCompress } from "node:zlib";

import type { Compression } from "./compression.ts";
import { through } from "./stream-through.ts";

const streamOptions = { chunkSize: 256 * 1024, readableHighWaterMark: 1 << 20 };

/**
 * This yields the bytes of `source` compressed, at the default level; the same bytes give the same bytes. Leaving the loop closes
 * `source`, whose errors come out as they are.
 */
export function compress(source: AsyncIterable<Uint8Array>, compression: Compression): AsyncIterable<Uint8Array> {
  if (compression === "none") return source;
  const stream = compression === "gzip" ? createGzip(streamOptions) : createZstdCompress(streamOptions);
  return through(source, stream);
}
