import { stat, truncate } from "node:fs/promises";

import type { CallOptions } from "@berth/core/any";
import { dataLoss, failedPrecondition, invalidArgument } from "@berth/errors";
import { findProgram, type ProgramResult, runProgram } from "@berth/linux/process";

const BLOCK_BYTES = 4096;
/** The time grows with what is moved out of the way, at most the size of the file system. */
const TIMEOUT_MS = 30 * 60_000;
/** e2fsck: errors were found, and all were corrected. */
const CORRECTED = 1;

/**
 * This makes the ext2, ext3 or ext4 in a file that nothing uses as large as `size` allows, larger or smaller than it is.
 *
 * @throws invalid_argument - what is in it does not fit
 * @throws failed_precondition - e2fsck or resize2fs is not installed
 * @throws data_loss - the file system is damaged
 */
export async function resizeExt(path: string, size: number, options: CallOptions): Promise<void> {
  const wanted = size - (size % BLOCK_BYTES);
  const before = (await stat(path)).size;
  if (wanted === before) return;
  if (wanted > before) await truncate(path, wanted);
  const checked = await run("e2fsck", ["-f", "-p", path], options);
  if (checked.status > CORRECTED) throw dataLoss(`file system in ${path} is damaged: ${lastLine(checked)}`);
  const resized = await run("resize2fs", [path, `${wanted / 1024}K`], options);
  if (resized.status !== 0) {
    throw invalidArgument(`a file system of ${before} bytes cannot be made one of ${wanted}: ${lastLine(resized)}`);
  }
  if (wanted < before) await truncate(path, wanted);
}

async function run(name: string, args: readonly string[], { signal }: CallOptions): Promise<ProgramResult> {
  const path = findProgram(name);
  if (path === undefined)
    throw failedPrecondition(`${name} is not installed; it is needed to limit the size of a layer`);
  return runProgram({ path, args, timeoutMs: TIMEOUT_MS, signal });
}

function lastLine({ output }: ProgramResult): string {
  return output.trim().split("\n").at(-1) ?? "";
}
