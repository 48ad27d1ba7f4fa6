import { chmod, lchown, mkdir, open, rm, stat } from "node:fs/promises";
import { join } from "node:path";

import type { CallOptions } from "@berth/core/any";
import type { Logger } from "@berth/core/log";
import { dataLoss, messageOf } from "@berth/errors";
import { AT_FDCWD, RENAME_EXCHANGE, renameat2, setImmutable } from "@berth/linux/files";

import type { SealedSnapshot } from "../snapshot-driver.ts";
import type { TreeWorkers } from "../tree-workers.ts";
import { convertLayer, isThere } from "./convert-layer.ts";
import { erofsPath } from "./erofs-paths.ts";
import { allowRemoval } from "./erofs-places.ts";

/** What {@link sealLayer} works on. */
export interface SealOptions {
  /** That of the snapshot. */
  readonly directory: string;
  /** For the mount that may be needed. */
  readonly mounts: string;
  readonly trees: TreeWorkers;
  readonly setImmutable: boolean;
  readonly log: Logger;
}

/**
 * This gives an active snapshot its layer, where the differ or a cache has not, and takes it away again when it is disposed. Until
 * then a mark says that what was written still counts, so that a commit that was cut off is simply done again.
 */
export async function sealLayer(options: SealOptions, call: CallOptions): Promise<SealedSnapshot> {
  const { directory, mounts, log } = options;
  const [layer, sealing] = [erofsPath(directory, "layer"), erofsPath(directory, "sealing")];
  const isGiven = (await isThere(layer)) && !(await isThere(sealing));
  await using undo = new AsyncDisposableStack();
  if (!isGiven) {
    undo.defer(() => takeBack(directory));
    await writeMark(sealing);
    // Of a commit that was cut off: nothing can take the place of an immutable one.
    await removeLayer(directory);
    await convertLayer(directory, mounts, call);
  }
  if (options.setImmutable) {
    changeImmutable(layer, true, log);
    if (isGiven) undo.defer(() => changeImmutable(layer, false, log));
  }
  const taken = undo.move();
  return {
    finish: () => (isGiven ? Promise.resolve() : dropWritten(options)),
    [Symbol.asyncDispose]: () => taken.disposeAsync(),
  };
}

/** The mark stays for as long as the layer does: a layer without one counts instead of what was written. */
async function takeBack(directory: string): Promise<void> {
  await removeLayer(directory);
  await rm(erofsPath(directory, "sealing"), { force: true });
}

async function removeLayer(directory: string): Promise<void> {
  allowRemoval(directory);
  await rm(erofsPath(directory, "layer"), { force: true });
}

/** On disk before the layer is. */
async function writeMark(path: string): Promise<void> {
  await using file = await open(path, "w");
  await file.sync();
}

/** A cached layer is a link, and belongs to somebody else. */
function changeImmutable(layer: string, immutable: boolean, log: Logger): void {
  try {
    setImmutable(layer, immutable);
  } catch (error) {
    log.warn("failed to change the immutable flag of a layer", { path: layer, error: messageOf(error) });
  }
}

/**
 * This ends a commit that was cut off after its record: what was written does not count any more. It is kept where the layer is not there.
 * @throws data_loss - it is not
 */
export async function finishSeal(options: Pick<SealOptions, "directory" | "trees">): Promise<void> {
  const [layer, sealing] = [erofsPath(options.directory, "layer"), erofsPath(options.directory, "sealing")];
  if (!(await isThere(sealing))) return;
  if (!(await isThere(layer))) throw dataLoss(`${layer} is missing; what was written is left in ${options.directory}`);
  await dropWritten(options);
}

/** An empty directory takes the place of what was written: its owner is the one of the root in snapshots made on this one. */
async function dropWritten({ directory, trees }: Pick<SealOptions, "directory" | "trees">): Promise<void> {
  const [upper, empty] = [erofsPath(directory, "upper"), join(directory, "fs.new")];
  const { mode, uid, gid } = await stat(upper);
  await trees.remove(empty);
  await mkdir(empty);
  await chmod(empty, mode & 0o7777);
  await lchown(empty, uid, gid);
  renameat2(AT_FDCWD, empty, AT_FDCWD, upper, RENAME_EXCHANGE);
  await trees.remove(empty);
  for (const name of ["work", "writable", "sealing"] as const) await trees.remove(erofsPath(directory, name));
}
