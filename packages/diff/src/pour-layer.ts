import { createHash } from "node:crypto";
import { createReadStream, openSync, closeSync, readSync } from "node:fs";

import { COMPRESSION_MAGIC_BYTES, decompress, detectCompression } from "@berth/archive";
import { canceled } from "@berth/errors";

import { gunzipFile } from "./external-gunzip.ts";
import type { LayerSource, LayerSummary, UncompressedFrom } from "./layer-job.ts";
import { portChunks } from "./port-chunks.ts";

const READ_BYTES = 1 << 20;
/** As much as a pipe holds. */
const PIPE_BYTES = 1 << 16;

/**
 * This hands the uncompressed bytes of a layer to `take`, in the calling thread, and returns what they were. They are valid during the
 * call only.
 *
 * @throws canceled - the job's flag was raised
 */
export async function pourLayer(
  job: UncompressedFrom,
  take: (bytes: Uint8Array) => void,
): Promise<Pick<LayerSummary, "sha256" | "size">> {
  const hash = createHash("sha256");
  let size = 0;
  await pour(job, (bytes) => {
    if (Atomics.load(job.cancelled, 0) !== 0) throw canceled("work on the layer was cancelled");
    hash.update(bytes);
    size += bytes.length;
    take(bytes);
  });
  return { sha256: hash.digest("hex"), size };
}

async function pour(job: UncompressedFrom, take: (bytes: Uint8Array) => void): Promise<void> {
  const { source, gunzip, compression } = job;
  const budgets = job.budgets.decompression;
  if (source.kind === "file" && gunzip !== undefined && compression === "detect" && isGzip(source.path)) {
    gunzipFile(source.path, gunzip, budgets, take);
    return;
  }
  const bytes = chunksOf(source);
  const known = compression === "none" ? "none" : undefined;
  for await (const chunk of decompress(bytes, { compression: known, budgets, isTransient: true })) take(chunk);
}

function chunksOf(source: LayerSource): AsyncIterable<Uint8Array> {
  if (source.kind === "file") return fileChunks(source.path);
  return source.kind === "pipe" ? pipeChunks(source.fd) : portChunks(source.port);
}

/** Blocks the thread while the other side has nothing; whoever wants the job to stop ends that side. */
async function* pipeChunks(fd: number): AsyncGenerator<Uint8Array, void, undefined> {
  for (;;) {
    const chunk = new Uint8Array(PIPE_BYTES);
    const length = readSync(fd, chunk);
    if (length === 0) return;
    yield chunk.subarray(0, length);
  }
}

function isGzip(path: string): boolean {
  const fd = openSync(path, "r");
  try {
    const start = new Uint8Array(COMPRESSION_MAGIC_BYTES);
    return detectCompression(start.subarray(0, readSync(fd, start))) === "gzip";
  } finally {
    closeSync(fd);
  }
}

async function* fileChunks(path: string): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const chunk of createReadStream(path, { highWaterMark: READ_BYTES })) {
    // Without an encoding a file stream yields buffers, which its types do not say.
    yield chunk as Uint8Array;
  }
}
