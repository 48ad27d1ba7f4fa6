import { setTimeout as sleep } from "node:timers/promises";

import type { WatchedDevice } from "./device-syncs.ts";

const LOOK_EVERY_MS = 50;
/** As much as a disk writes in a moment; less would only make it write the same directories again and again. */
const STEP_MIB = 32;

/** How much of a layer has been unpacked, in MiB: one cell that the thread at work counts up. */
export type UnpackedMiB = Int32Array<SharedArrayBuffer>;

export interface EarlyWriteBackOptions {
  /** What keeps the disk from writing is asked of it afterwards. */
  readonly device: Pick<WatchedDevice, "sync">;
  readonly unpacked: UnpackedMiB;
}

/**
 * This has the disk write what `work` makes while it makes it, so that little is left for whoever waits for the disk at its end. At most
 * half of the time is spent writing, so that other writers get their turn. Nothing is promised: the sync that counts comes later, on a
 * descriptor that was open before, and is told of what failed here too. Never waits for the disk, and fails as `work` does only.
 */
export async function withEarlyWriteBack<T>(options: EarlyWriteBackOptions, work: () => Promise<T>): Promise<T> {
  const ended = new AbortController();
  // The device remembers what failed.
  writeBack(options, ended.signal).catch(() => {});
  try {
    return await work();
  } finally {
    ended.abort();
  }
}

async function writeBack({ device, unpacked }: EarlyWriteBackOptions, signal: AbortSignal): Promise<void> {
  let written = 0;
  for (let pauseMs = LOOK_EVERY_MS; ;) {
    await sleep(pauseMs, undefined, { signal, ref: false }).catch(() => {});
    if (signal.aborted) return;
    const reached = Atomics.load(unpacked, 0);
    pauseMs = LOOK_EVERY_MS;
    if (reached - written < STEP_MIB) continue;
    written = reached;
    const started = performance.now();
    await device.sync();
    pauseMs = Math.max(LOOK_EVERY_MS, performance.now() - started);
  }
}
