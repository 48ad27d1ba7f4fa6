import type { SnapshotUsage } from "@berth/core/snapshots";

import type { Checkpoint } from "./checkpoint.ts";
import { diskUsage } from "./disk-usage.ts";
import { errnoName } from "./errno-name.ts";

/** What a worker is asked to do with trees of files, and with single large ones. */
export type TreeTask =
  | { readonly kind: "usage"; readonly path: string; readonly base: string | undefined }
  | { readonly kind: "copy"; readonly from: string; readonly to: string }
  | { readonly kind: "copy-file"; readonly from: string; readonly to: string }
  | { readonly kind: "remove"; readonly path: string };

/** A task on its way to a worker. */
export interface TreeJob {
  readonly task: TreeTask;
  /** Shared memory: not 0 when the task is to stop. */
  readonly cancelled: Int32Array;
}

/** An error on its way from a worker: structured clones of errors lose the errno. */
export interface RemoteError {
  readonly message: string;
  readonly code: string | undefined;
}

/** The answer of a worker; usage is 0 where nothing was measured. */
export type TreeOutcome = { readonly usage: SnapshotUsage } | { readonly error: RemoteError };

/**
 * This does what a job asks for, in this thread, and never rejects.
 *
 * It imports as little as it can: loading the errors package and the foreign calls takes longer than most walks.
 */
export async function runTreeJob({ task, cancelled }: TreeJob): Promise<TreeOutcome> {
  const checkpoint = (): void => {
    if (Atomics.load(cancelled, 0) !== 0) throw new Error("cancelled");
  };
  try {
    return { usage: await runTask(task, checkpoint) };
  } catch (error) {
    return { error: { message: error instanceof Error ? error.message : String(error), code: errnoName(error) } };
  }
}

async function runTask(task: TreeTask, checkpoint: Checkpoint): Promise<SnapshotUsage> {
  if (task.kind === "usage") return diskUsage(task.path, task.base, checkpoint);
  if (task.kind === "remove") {
    const { AT_FDCWD, removeTree } = await import("@berth/linux/files");
    removeTree(AT_FDCWD, task.path, checkpoint);
  } else if (task.kind === "copy-file") {
    (await import("./copy-file.ts")).copyFile(task.from, task.to, checkpoint);
  } else {
    (await import("./copy-tree.ts")).copyTree(task.from, task.to, checkpoint);
  }
  return { size: 0, inodes: 0 };
}
