import { MessageChannel } from "node:worker_threads";

import type { ContentReader } from "@berth/core/content";
import type { CallOptions } from "@berth/core/any";
import { canceled, isCanceled } from "@berth/errors";
import { ChildReaper } from "@berth/linux/process";

import type {
  ApplyBudgets,
  ApplyJob,
  CompareJob,
  CopyJob,
  DescribedDirectories,
  GunzipProgram,
  LayerPlace,
  LayerSummary,
} from "./layer-job.ts";
import { LayerWorkerPool, type LayerWorkerPoolOptions } from "./layer-worker-pool.ts";
import { findGunzipProgram } from "./gunzip-program.ts";
import { portChunks, serveChunks } from "./port-chunks.ts";
import type { ProcessorChain, ProcessorStep, StreamProcessor } from "./processor-chain.ts";
import { type ProcessorInput, RunningProcessors } from "./running-processors.ts";
import { DeviceSyncs, type WatchedDevice } from "./device-syncs.ts";
import { type UnpackedMiB, withEarlyWriteBack } from "./early-write-back.ts";
import type { WorkTurn } from "./work-turns.ts";

export interface LayerEngineOptions extends LayerWorkerPoolOptions {
  /** What one layer may cost; generous by default. */
  readonly budgets?: ApplyBudgets | undefined;
  /** Where temporary mounts are made; the system's directory for temporary files by default. */
  readonly temporaryDirectory?: string | undefined;
  /** Where `igzip` and `unpigz` are looked for, and what switches them off; `process.env` by default. */
  readonly environment?: Readonly<Record<string, string | undefined>> | undefined;
  /** Programs for layers of other media types, the one registered last first in line. */
  readonly processors?: readonly StreamProcessor[] | undefined;
}

const CHUNK_BYTES = 1 << 20;
/** Bytes that are on this machine have been read by then. */
const LATE_MS = 10;

/**
 * What all appliers and comparers of a daemon share: worker threads, and the syncs that wait for the disk. Whoever makes it disposes it,
 * which cancels the layers under way.
 */
export class LayerEngine implements AsyncDisposable {
  readonly temporaryDirectory: string | undefined;
  readonly processors: readonly StreamProcessor[];
  readonly syncs = new DeviceSyncs();
  readonly #pool: LayerWorkerPool;
  readonly #budgets: ApplyBudgets;
  readonly #environment: Readonly<Record<string, string | undefined>>;
  /** Ends the programs of a layer that is being applied. */
  readonly #kills = new Set<() => void>();
  readonly #processing = new Set<Promise<unknown>>();
  #reaper: ChildReaper | undefined;
  readonly #gunzip: GunzipProgram | undefined;

  constructor(options: LayerEngineOptions = {}) {
    this.temporaryDirectory = options.temporaryDirectory;
    this.processors = options.processors ?? [];
    this.#pool = new LayerWorkerPool(options);
    this.#budgets = options.budgets ?? {};
    this.#environment = options.environment ?? process.env;
    this.#gunzip = findGunzipProgram(this.#environment);
  }

  /** Makes a layer of two trees, in a worker, and hands its bytes out as they come; returns what the uncompressed archive was. */
  async compare(
    job: Pick<CompareJob, "trees" | "compression" | "latestSeconds">,
    take: (chunk: Uint8Array) => Promise<void>,
    { signal }: CallOptions,
  ): Promise<LayerSummary> {
    const { port1, port2 } = new MessageChannel();
    const running = this.#pool.run({ kind: "compare", ...job, port: port2 }, { signal, transfer: [port2] });
    // Whoever waits for bytes of a job that never began, or whose thread died, is let go.
    running.catch(() => port1.close());
    const taking = (async () => {
      for await (const chunk of portChunks(port1)) await take(chunk);
    })();
    const [taken, summary] = await Promise.allSettled([taking, running]);
    if (summary.status === "rejected" && (taken.status !== "rejected" || isCanceled(taken.reason)))
      throw summary.reason;
    if (taken.status === "rejected") throw taken.reason;
    return running;
  }

  /**
   * Applies the bytes of a blob to a place, in a worker; returns what the uncompressed archive was. The device of the place, when given,
   * is made to write meanwhile.
   */
  apply(
    blob: ContentReader,
    chain: ProcessorChain,
    place: LayerPlace,
    { device, signal }: CallOptions & { readonly device?: WatchedDevice | undefined },
  ): Promise<LayerSummary> {
    const unpacked: UnpackedMiB = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
    const work = (): Promise<LayerSummary> =>
      this.#uncompress(blob, chain, { kind: "apply", place, unpacked }, { signal });
    return device === undefined ? work() : withEarlyWriteBack({ device, unpacked }, work);
  }

  /**
   * Writes the uncompressed bytes of a blob to a descriptor, in a worker that waits where it would block, behind the headers of
   * directories if some are given; returns what they were.
   */
  copy(
    blob: ContentReader,
    chain: ProcessorChain,
    fd: number,
    { directories, signal }: CallOptions & { readonly directories?: DescribedDirectories },
  ): Promise<LayerSummary> {
    return this.#uncompress(blob, chain, { kind: "copy", fd, directories }, { signal });
  }

  /** Runs `work` beside programs that take `input`; they are killed when it fails, and when the signal or the engine says so. */
  async withPrograms<T>(
    steps: readonly ProcessorStep[],
    input: ProcessorInput,
    { signal }: CallOptions,
    work: (programs: RunningProcessors) => Promise<T>,
  ): Promise<T> {
    const working = this.#besidePrograms(steps, input, { signal }, work);
    this.#processing.add(working);
    return working.finally(() => this.#processing.delete(working));
  }

  async #besidePrograms<T>(
    steps: readonly ProcessorStep[],
    input: ProcessorInput,
    { signal }: CallOptions,
    work: (programs: RunningProcessors) => Promise<T>,
  ): Promise<T> {
    this.#reaper ??= new ChildReaper({ mode: "registered" });
    await using programs = RunningProcessors.start(steps, input, this.#reaper);
    // A worker waits for their bytes and sees nothing else: the end of the programs is the end of its waiting.
    const kill = (): void => programs.kill();
    this.#kills.add(kill);
    signal?.addEventListener("abort", kill, { once: true });
    try {
      return await work(programs);
    } catch (error) {
      if (signal?.aborted === true) throw canceled("work on the layer was cancelled", { cause: signal.reason });
      await programs.explain();
      throw error;
    } finally {
      this.#kills.delete(kill);
      signal?.removeEventListener("abort", kill);
    }
  }

  async #uncompress(
    blob: ContentReader,
    { steps, compression }: ProcessorChain,
    work: Pick<ApplyJob, "kind" | "place" | "unpacked"> | Pick<CopyJob, "kind" | "fd" | "directories">,
    { signal }: CallOptions,
  ): Promise<LayerSummary> {
    const job = { ...work, compression, gunzip: this.#gunzip, budgets: this.#budgets };
    const path = blob.localPath;
    if (steps.length > 0) {
      const input: ProcessorInput =
        path === undefined ? { kind: "chunks", chunks: blobChunks(blob, undefined, signal) } : { kind: "file", path };
      return this.withPrograms(steps, input, { signal }, async (programs) => {
        const layer = await this.#pool.run({ ...job, source: { kind: "pipe", fd: programs.output } }, { signal });
        await programs.finish();
        return layer;
      });
    }
    if (path !== undefined) return this.#pool.run({ ...job, source: { kind: "file", path } }, { signal });
    const { port1, port2 } = new MessageChannel();
    let turn: WorkTurn | undefined;
    const waits: Waits = { begin: () => turn?.pause(), end: () => turn?.resume() };
    const serving = serveChunks(port1, blobChunks(blob, waits, signal));
    const close = (): void => port1.close();
    signal?.addEventListener("abort", close, { once: true });
    try {
      return await this.#pool.run(
        { ...job, source: { kind: "port", port: port2 } },
        { signal, transfer: [port2], onTurn: (given) => (turn = given) },
      );
    } finally {
      signal?.removeEventListener("abort", close);
      port1.close();
      await serving;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const kill of this.#kills) kill();
    await this.#pool[Symbol.asyncDispose]();
    // Without the reaper nobody would see their programs end.
    await Promise.allSettled(this.#processing);
    this.#reaper?.[Symbol.dispose]();
  }
}

/** Told when the next bytes of a blob have not come yet, and when they have. */
interface Waits {
  begin(): void;
  end(): void;
}

async function* blobChunks(
  blob: ContentReader,
  waits: Waits | undefined,
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  for (let offset = 0; offset < blob.size; offset += CHUNK_BYTES) {
    const reading = blob.readAt(offset, Math.min(CHUNK_BYTES, blob.size - offset), { signal });
    yield await (waits === undefined ? reading : noticed(reading, waits));
  }
}

async function noticed<T>(reading: Promise<T>, { begin, end }: Waits): Promise<T> {
  const timer = setTimeout(begin, LATE_MS);
  try {
    return await reading;
  } finally {
    clearTimeout(timer);
    end();
  }
}

/** This makes an engine; no thread is started before the first layer. */
export function createLayerEngine(options?: LayerEngineOptions): LayerEngine {
  return new LayerEngine(options);
}
