import { rm, stat } from "node:fs/promises";
import { join } from "node:path";

import { renameDurably } from "@berth/core/durable-files";
import { makeDirectories } from "@berth/core/make-directories";
import { failedPrecondition, systemErrorCode, wrapError } from "@berth/errors";
import { withTemporaryMount } from "@berth/linux/mount";

import { withProbeDirectory } from "../probe-directory.ts";
import type { TreeWorkers } from "../tree-workers.ts";

/** Where the empty file system comes from that snapshots without a parent begin with. */
export interface ScratchOptions {
  readonly root: string;
  /** Copied to `<root>/scratch` when that is missing. */
  readonly scratchFile?: string | undefined;
  /** Copy it at each start. */
  readonly recreateScratch?: boolean | undefined;
}

/** This says why there is no scratch file and none can be made, in containerd's words. */
export async function findMissingScratch(options: ScratchOptions): Promise<string | undefined> {
  if (options.scratchFile !== undefined) return undefined;
  return options.recreateScratch || !(await exists(join(options.root, "scratch")))
    ? "no scratch file generator"
    : undefined;
}

/** This returns the path of the scratch file, which it makes first where that is asked for. @throws failed_precondition */
export async function prepareScratch(options: ScratchOptions, trees: TreeWorkers): Promise<string> {
  const { root, scratchFile, recreateScratch = false } = options;
  const path = join(root, "scratch");
  const missing = await findMissingScratch(options);
  if (missing !== undefined) throw failedPrecondition(missing);
  if (scratchFile === undefined || (!recreateScratch && (await exists(path)))) return path;
  await makeDirectories(root, 0o700);
  const temporary = join(root, "new-scratch");
  try {
    await rm(temporary, { force: true });
    await trees.copyFile(scratchFile, temporary);
    await renameDurably(temporary, path);
  } catch (error) {
    throw wrapError(error, "generate scratch file");
  }
  return path;
}

/** This mounts the scratch file once, so that a wrong file, type or option is told at the start. @throws failed_precondition */
export async function tryScratch(
  root: string,
  scratch: string,
  { type, options }: { readonly type: string; readonly options: readonly string[] },
): Promise<void> {
  const mounts = [{ type, source: scratch, options: [...options, "ro"] }];
  try {
    await withProbeDirectory(root, "scratch", (directory) => withTemporaryMount(mounts, { directory }, () => {}));
  } catch (error) {
    throw failedPrecondition(`scratch file ${scratch} cannot be mounted as ${type}`, { cause: error });
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return false;
    throw error;
  }
}
