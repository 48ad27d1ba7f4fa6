import type { Transform } from "node:stream";
import { createGunzip, createZstdDecompress } from "node:zlib";

import { dataLoss, invalidArgument, resourceExhausted } from "@berth/errors";

import { DEFAULT_DECOMPRESSION_BUDGETS, type DecompressionBudgets } from "./budgets.ts";
import { type Compression, COMPRESSION_MAGIC_BYTES, detectCompression } from "./compression.ts";
import { releaseBytes } from "./release-bytes.ts";
import { through, type ThroughOptions } from "./stream-through.ts";
import { splitZstdFrames } from "./zstd-frames.ts";

export interface DecompressOptions {
  /** How the source is compressed; found out by its first bytes when left out. */
  readonly compression?: Compression | undefined;
  readonly budgets?: Partial<DecompressionBudgets> | undefined;
  /** A chunk is valid only until the next one is asked for, and the chunks of the source are given away: each is freed at once. */
  readonly isTransient?: boolean | undefined;
  /** Frees a chunk of a source that is not compressed, when the next one is asked for, in the place of what `isTransient` does. */
  readonly release?: ((chunk: Uint8Array) => void) | undefined;
}

/** So large that a chunk's way through the event loop is cheap beside its bytes. */
const CHUNK_BYTES = 256 * 1024;
/** Decompression runs ahead of the reader by this much, on a thread of libuv's pool. */
const READ_AHEAD_BYTES = 4 * CHUNK_BYTES;

/**
 * This yields the decompressed bytes of `source`: all members of a gzip file, all frames of a zstd file. Leaving the
 * loop closes `source`; when decompression fails it is closed too.
 *
 * @throws data_loss - the stream is cut off
 * @throws invalid_argument - the bytes are not what their start promised, or a checksum does not match
 * @throws resource_exhausted - a budget is exceeded
 */
export async function* decompress(
  source: AsyncIterable<Uint8Array>,
  options: DecompressOptions = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const meter = new Meter({ ...DEFAULT_DECOMPRESSION_BUDGETS, ...options.budgets });
  const { compression, stream } = await identify(source, options.compression);
  const counted = meter.countInput(stream);
  yield* meter.countOutput(uncompressed(counted, compression, options), compression);
}

function uncompressed(
  source: AsyncIterable<Uint8Array>,
  compression: Compression,
  options: DecompressOptions,
): AsyncIterable<Uint8Array> {
  const { isTransient, release = isTransient === true ? releaseBytes : undefined } = options;
  if (compression === "none") return release === undefined ? source : released(source, release);
  if (compression === "gzip") return unpacked(source, createGunzip(streamOptions), compression, options);
  return unpacked(splitZstdFrames(source), createZstdDecompress(streamOptions), compression, options);
}

async function* released(
  source: AsyncIterable<Uint8Array>,
  release: (chunk: Uint8Array) => void,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of source) {
    yield chunk;
    release(chunk);
  }
}

const streamOptions = { chunkSize: CHUNK_BYTES, readableHighWaterMark: READ_AHEAD_BYTES };

/** Looks at the first bytes and gives a stream that still has them. */
async function identify(
  source: AsyncIterable<Uint8Array>,
  known: Compression | undefined,
): Promise<{ compression: Compression; stream: AsyncIterable<Uint8Array> }> {
  if (known !== undefined) return { compression: known, stream: source };
  const iterator = source[Symbol.asyncIterator]();
  const start: Uint8Array[] = [];
  let length = 0;
  while (length < COMPRESSION_MAGIC_BYTES) {
    const { value, done } = await iterator.next();
    if (done === true) break;
    start.push(value);
    length += value.length;
  }
  return { compression: detectCompression(Buffer.concat(start.slice(0, 4096))), stream: continued(start, iterator) };
}

async function* continued(
  start: readonly Uint8Array[],
  iterator: AsyncIterator<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  try {
    yield* start;
    for (;;) {
      const { value, done } = await iterator.next();
      if (done === true) return;
      yield value;
    }
  } finally {
    await iterator.return?.();
  }
}

/** Counts both sides of a decompressor and stops it where a budget is exceeded. */
class Meter {
  readonly #budgets: DecompressionBudgets;
  #input = 0;
  #output = 0;

  constructor(budgets: DecompressionBudgets) {
    this.#budgets = budgets;
  }

  async *countInput(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const chunk of source) {
      this.#input += chunk.length;
      yield chunk;
    }
  }

  async *countOutput(
    source: AsyncIterable<Uint8Array>,
    kind: Compression,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const { maxBytes, maxRatio, ratioFloor } = this.#budgets;
    for await (const chunk of source) {
      this.#output += chunk.length;
      if (this.#output > maxBytes) throw resourceExhausted(`${kind}: more than ${maxBytes} bytes`);
      if (this.#output > ratioFloor && this.#output > this.#input * maxRatio) {
        throw resourceExhausted(`${kind}: ${this.#input} bytes became more than ${maxRatio} times as many`);
      }
      yield chunk;
    }
  }
}

async function* unpacked(
  source: AsyncIterable<Uint8Array>,
  stream: Transform,
  kind: Compression,
  options: ThroughOptions,
): AsyncGenerator<Uint8Array> {
  try {
    yield* through(source, stream, { isTransient: options.isTransient, chunkBytes: CHUNK_BYTES });
  } catch (error) {
    throw classify(error, kind);
  }
}

function classify(error: unknown, kind: Compression): unknown {
  if (!(error instanceof Error) || !("code" in error) || typeof error.code !== "string") return error;
  if (error.code === "Z_BUF_ERROR") return dataLoss(`${kind}: stream is cut off`, { cause: error });
  if (/^Z(?:STD)?_/.test(error.code)) return invalidArgument(`${kind}: ${error.message}`, { cause: error });
  return error;
}
