import { mkdir, open, readdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";

import type { CallOptions } from "@berth/core/any";
import { syncFile } from "@berth/core/durable-files";
import { failedPrecondition, internal, resourceExhausted, systemErrorCode, wrapError } from "@berth/errors";
import { statFs, withTemporaryMount } from "@berth/linux/mount";
import { findProgram, runProgram } from "@berth/linux/process";
import { MKFS_EROFS_MS } from "@berth/oci";

import { erofsPath } from "./erofs-paths.ts";

/** What it writes at once: with less free, it had no room. */
const FULL_BYTES = 1024n * 1024n;
const PROGRAM = "mkfs.erofs";

/** This says whether layers can be made here. */
export function canConvert(): boolean {
  return findProgram(PROGRAM) !== undefined;
}

/**
 * This makes the layer of a snapshot from what was written, whichever way that is kept, and puts it on disk. A layer that is there
 * is replaced in one step.
 *
 * @param mounts - a directory for the mount that this takes
 * @throws failed_precondition - mkfs.erofs is not installed
 */
export async function convertLayer(directory: string, mounts: string, options: CallOptions): Promise<void> {
  const image = erofsPath(directory, "writable");
  const [upper, layer] = [erofsPath(directory, "upper"), erofsPath(directory, "layer")];
  if (!(await readdir(directory)).includes("rwlayer.img")) {
    await makeLayer(upper, layer, options);
    return;
  }
  await mkdir(mounts, { recursive: true, mode: 0o700 });
  // Writable, so that its journal is applied; where it is mounted elsewhere, that very file system is shown once more.
  await withTemporaryMount(
    [{ type: "ext4", source: image, options: ["loop"] }],
    { directory: mounts },
    async (mounted) => {
      // Nobody has mounted it as a layer yet.
      const written = (await readdir(mounted)).includes("upper") ? join(mounted, "upper") : upper;
      await makeLayer(written, layer, options);
    },
  );
}

async function makeLayer(from: string, layer: string, { signal }: CallOptions): Promise<void> {
  const path = findProgram(PROGRAM);
  if (path === undefined) throw failedPrecondition(`${PROGRAM} is not installed`);
  const temporary = `${layer}.new`;
  await rm(temporary, { force: true });
  try {
    const args = ["--quiet", "-Enoinline_data", temporary, from];
    const { status, output } = await runProgram({ path, args, timeoutMs: MKFS_EROFS_MS, signal });
    if (status !== 0) throw failure(layer, `${PROGRAM} ended with status ${status}: ${output.trim().slice(0, 500)}`);
    await syncFile(temporary);
    await rename(temporary, layer);
  } catch (error) {
    await rm(temporary, { force: true });
    throw wrapError(error, `make layer of ${from}`);
  }
}

/** The program tells a full disk in words only. */
function failure(layer: string, message: string): Error {
  const { blocksAvailable, blockSize } = statFs(dirname(layer));
  return blocksAvailable * BigInt(blockSize) < FULL_BYTES ? resourceExhausted(message) : internal(message);
}

/** This says whether a file is there, links followed. */
export async function isThere(path: string): Promise<boolean> {
  try {
    await using _file = await open(path, "r");
    return true;
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return false;
    throw error;
  }
}
