import { MessageChannel } from "node:worker_threads";

import type { ContentReader } from "@berth/core/content";
import type { CallOptions } from "@berth/core/any";

import type { AppliedLayer, ApplyBudgets, GunzipProgram, LayerPlace } from "./apply-job.ts";
import { ApplyWorkerPool, type ApplyWorkerPoolOptions } from "./apply-worker-pool.ts";
import { findGunzipProgram } from "./gunzip-program.ts";
import { serveChunks } from "./port-chunks.ts";
import { DeviceSyncs } from "./device-syncs.ts";

export interface ApplyEngineOptions extends ApplyWorkerPoolOptions {
  /** What one layer may cost; generous by default. */
  readonly budgets?: ApplyBudgets | undefined;
  /** Where temporary mounts are made; the system's directory for temporary files by default. */
  readonly temporaryDirectory?: string | undefined;
  /** Where `igzip` and `unpigz` are looked for, and what switches them off; `process.env` by default. */
  readonly environment?: Readonly<Record<string, string | undefined>> | undefined;
}

const CHUNK_BYTES = 1 << 20;

/**
 * What all appliers of a daemon share: worker threads, and the syncs that wait for the disk. Whoever makes it disposes it,
 * which cancels the layers under way.
 */
export class ApplyEngine implements AsyncDisposable {
  readonly temporaryDirectory: string | undefined;
  readonly syncs = new DeviceSyncs();
  readonly #pool: ApplyWorkerPool;
  readonly #budgets: ApplyBudgets;
  readonly #environment: Readonly<Record<string, string | undefined>>;
  #gunzip: Promise<GunzipProgram | undefined> | undefined;

  constructor(options: ApplyEngineOptions = {}) {
    this.temporaryDirectory = options.temporaryDirectory;
    this.#pool = new ApplyWorkerPool(options);
    this.#budgets = options.budgets ?? {};
    this.#environment = options.environment ?? process.env;
  }

  /** Applies the bytes of a blob to a place, in a worker; returns what the uncompressed archive was. */
  async run(
    blob: ContentReader,
    compression: "detect" | "none",
    place: LayerPlace,
    { signal }: CallOptions,
  ): Promise<AppliedLayer> {
    this.#gunzip ??= findGunzipProgram(this.#environment);
    const job = { place, compression, gunzip: await this.#gunzip, budgets: this.#budgets };
    if (blob.localPath !== undefined) {
      return this.#pool.run({ ...job, source: { kind: "file", path: blob.localPath } }, { signal });
    }
    const { port1, port2 } = new MessageChannel();
    const serving = serveChunks(port1, blobChunks(blob, signal));
    const close = (): void => port1.close();
    signal?.addEventListener("abort", close, { once: true });
    try {
      return await this.#pool.run({ ...job, source: { kind: "port", port: port2 } }, { signal, transfer: [port2] });
    } finally {
      signal?.removeEventListener("abort", close);
      port1.close();
      await serving;
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#pool[Symbol.asyncDispose]();
  }
}

async function* blobChunks(
  blob: ContentReader,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  for (let offset = 0; offset < blob.size; offset += CHUNK_BYTES) {
    yield await blob.readAt(offset, Math.min(CHUNK_BYTES, blob.size - offset), { signal });
  }
}

/** This makes an engine; no thread is started before the first layer. */
export function createApplyEngine(options?: ApplyEngineOptions): ApplyEngine {
  return new ApplyEngine(options);
}
