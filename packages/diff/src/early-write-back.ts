import { setTimeout as sleep } from "node:timers/promises";

import type { DeviceSyncs } from "./device-syncs.ts";

const LOOK_EVERY_MS = 50;
/** As much as a disk writes in a moment; less would only make it write the same directories again and again. */
const STEP_MIB = 32;

/** How much of a layer has been unpacked, in MiB: one cell that the thread at work counts up. */
export type UnpackedMiB = Int32Array<SharedArrayBuffer>;

export interface EarlyWriteBackOptions {
  readonly syncs: Pick<DeviceSyncs, "sync">;
  /** A directory on the file system. */
  readonly path: string;
  readonly unpacked: UnpackedMiB;
}

/**
 * This has the disk write what `work` makes while it makes it, so that little is left for whoever waits for the disk at its end. At most
 * half of the time is spent writing, so that other writers get their turn. Nothing is promised: the sync that counts comes later, on a
 * descriptor that was open before, and is told of what failed here too. Never waits for the disk.
 *
 * @throws what `work` throws; else what kept the disk from writing, if that is known by then
 */
export async function withEarlyWriteBack<T>(options: EarlyWriteBackOptions, work: () => Promise<T>): Promise<T> {
  const ended = new AbortController();
  let failure: { readonly error: unknown } | undefined;
  const writing = writeBack(options, ended.signal);
  writing.catch((error: unknown) => {
    failure = { error };
  });
  try {
    const result = await work();
    if (failure !== undefined) throw failure.error;
    return result;
  } finally {
    ended.abort();
  }
}

async function writeBack({ syncs, path, unpacked }: EarlyWriteBackOptions, signal: AbortSignal): Promise<void> {
  let written = 0;
  for (let pauseMs = LOOK_EVERY_MS; ;) {
    await sleep(pauseMs, undefined, { signal, ref: false }).catch(() => {});
    if (signal.aborted) return;
    const reached = Atomics.load(unpacked, 0);
    pauseMs = LOOK_EVERY_MS;
    if (reached - written < STEP_MIB) continue;
    written = reached;
    const started = performance.now();
    await syncs.sync(path);
    pauseMs = Math.max(LOOK_EVERY_MS, performance.now() - started);
  }
}
