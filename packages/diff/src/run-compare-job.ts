import { createHash, type Hash } from "node:crypto";

import { compress } from "@berth/archive";
import { canceled } from "@berth/errors";

import { ChangeArchive } from "./change-archive.ts";
import type { CompareJob, LayerSummary } from "./layer-job.ts";
import { serveChunks } from "./port-chunks.ts";
import { walkChanges } from "./walk-changes.ts";
import { Warnings } from "./warnings.ts";

const CHUNK_BYTES = 1 << 20;
/** Smaller pieces are gathered. */
const LARGE_BYTES = 1 << 16;

/**
 * This makes one layer in the calling thread and gives its bytes to the job's port as they are asked for; a failure goes there too.
 * Resolves when the port is closed.
 */
export async function runCompareJob(job: CompareJob): Promise<LayerSummary> {
  const warnings = new Warnings();
  const layer = new LayerSource(job, warnings);
  await serveChunks(job.port, compress(layer.chunks(), job.compression));
  return { sha256: layer.hash.digest("hex"), size: layer.size, impliedDirectories: 0, ...warnings.summary };
}

/** The uncompressed layer. */
class LayerSource {
  readonly hash: Hash = createHash("sha256");
  size = 0;
  readonly #job: CompareJob;
  readonly #warnings: Warnings;

  constructor(job: CompareJob, warnings: Warnings) {
    this.#job = job;
    this.#warnings = warnings;
  }

  async *chunks(): AsyncGenerator<Uint8Array, void, undefined> {
    for (const chunk of gathered(this.#pieces())) {
      this.hash.update(chunk);
      this.size += chunk.length;
      yield chunk;
    }
  }

  *#pieces(): Generator<Uint8Array, void, undefined> {
    const { trees, latestSeconds, cancelled } = this.#job;
    const archive = new ChangeArchive({ latestSeconds, warn: this.#warnings.add });
    for (const change of walkChanges(trees)) {
      for (const piece of archive.add(change)) {
        if (Atomics.load(cancelled, 0) !== 0) throw canceled("work on the layer was cancelled");
        yield piece;
      }
    }
    yield archive.end();
  }
}

/** Small pieces become chunks that are worth a message each; large ones pass. Every chunk has a buffer of its own. */
function* gathered(pieces: Iterable<Uint8Array>): Generator<Uint8Array, void, undefined> {
  let chunk = new Uint8Array(CHUNK_BYTES);
  let filled = 0;
  for (const piece of pieces) {
    if (filled > 0 && (piece.length >= LARGE_BYTES || filled + piece.length > CHUNK_BYTES)) {
      yield chunk.subarray(0, filled);
      chunk = new Uint8Array(CHUNK_BYTES);
      filled = 0;
    }
    if (piece.length >= LARGE_BYTES) yield piece;
    else {
      chunk.set(piece, filled);
      filled += piece.length;
    }
  }
  if (filled > 0) yield chunk.subarray(0, filled);
}
