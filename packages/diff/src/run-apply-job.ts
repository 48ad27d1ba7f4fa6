import { createHash, type Hash } from "node:crypto";
import { createReadStream, openSync, closeSync, readSync } from "node:fs";

import {
  COMPRESSION_MAGIC_BYTES,
  createTarReader,
  decompress,
  detectCompression,
  type TarReader,
} from "@berth/archive";
import { canceled } from "@berth/errors";

import type { ApplyJob, LayerPlace, LayerSource, LayerSummary } from "./layer-job.ts";
import { gunzipFile } from "./external-gunzip.ts";
import { LayerRoot } from "./layer-root.ts";
import { LayerWriter } from "./layer-writer.ts";
import { portChunks } from "./port-chunks.ts";
import { Warnings } from "./warnings.ts";
import { NaiveWhiteouts, OverlayWhiteouts, type Whiteouts } from "./whiteouts.ts";

const READ_BYTES = 1 << 20;
/** As much as a pipe holds. */
const PIPE_BYTES = 1 << 16;

/**
 * This applies one layer in the calling thread: decompress, hash, parse, make files. Only decompression and reading
 * happen elsewhere, ahead of it.
 *
 * @throws canceled - the job's flag was raised
 */
export async function runApplyJob(job: ApplyJob): Promise<LayerSummary> {
  const warnings = new Warnings();
  using root = new LayerRoot(job.place.root, job.place.lowers);
  using writer = new LayerWriter(root, whiteoutsOf(job.place, root), warnings.add);
  const sink = new LayerSink(createTarReader(writer, job.budgets.tar), job.cancelled);
  await pour(job, sink);
  sink.tar.end();
  writer.finish();
  const { impliedDirectories } = root;
  return { sha256: sink.hash.digest("hex"), size: sink.size, impliedDirectories, ...warnings.summary };
}

function whiteoutsOf(place: LayerPlace, root: LayerRoot): Whiteouts {
  return place.whiteouts === "overlay" ? new OverlayWhiteouts(place.userXattr) : new NaiveWhiteouts(root);
}

/** Takes the uncompressed bytes. */
class LayerSink {
  readonly tar: TarReader;
  readonly hash: Hash = createHash("sha256");
  readonly #cancelled: Int32Array<SharedArrayBuffer>;
  size = 0;

  constructor(tar: TarReader, cancelled: Int32Array<SharedArrayBuffer>) {
    this.tar = tar;
    this.#cancelled = cancelled;
  }

  readonly take = (bytes: Uint8Array): void => {
    if (Atomics.load(this.#cancelled, 0) !== 0) throw canceled("work on the layer was cancelled");
    this.hash.update(bytes);
    this.size += bytes.length;
    this.tar.write(bytes);
  };
}

async function pour(job: ApplyJob, sink: LayerSink): Promise<void> {
  const { source, gunzip, compression } = job;
  const budgets = job.budgets.decompression;
  if (source.kind === "file" && gunzip !== undefined && compression === "detect" && isGzip(source.path)) {
    gunzipFile(source.path, gunzip, budgets, sink.take);
    return;
  }
  const bytes = chunksOf(source);
  const known = compression === "none" ? "none" : undefined;
  for await (const chunk of decompress(bytes, { compression: known, budgets })) sink.take(chunk);
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
