import { access, mkdir, writeFile } from "node:fs/promises";
import { opendirSync, renameSync } from "node:fs";
import { join } from "node:path";

import { systemErrorCode } from "@berth/errors";
import { fsTypeName, mountTemporary, statFs } from "@berth/linux/mount";

import { withProbeDirectory } from "../probe-directory.ts";
import { inUserNamespace, kernelAtLeast } from "../user-namespace.ts";

/** What the kernel and the file system of a root can do. */
export interface OverlaySupport {
  /** Options that overlay mounts need here, in order. */
  readonly options: readonly string[];
  /** Mounts can map ids. */
  readonly remapIds: boolean;
  /** White-outs can be made, so that a layer can be unpacked before its parent is there. */
  readonly rebase: boolean;
}

const INDEX_PARAMETER = "/sys/module/overlay/parameters/index";

/** This finds out what overlay mounts below `root` need, beside the options configured. */
export async function overlaySupport(root: string, configured: readonly string[]): Promise<OverlaySupport> {
  const userNamespace = await inUserNamespace();
  const options = [...configured];
  const has = (name: string): boolean => options.some((option) => option === name || option.startsWith(`${name}=`));
  if (userNamespace && !has("userxattr") && (await needsUserXattr(root))) options.push("userxattr");
  // An index refuses to mount a lower directory that was copied or restored, and its cleanup takes the time of each unmount.
  if (!has("index") && (await exists(INDEX_PARAMETER))) options.push("index=off");
  return { options, remapIds: kernelAtLeast(5, 19), rebase: !userNamespace };
}

async function needsUserXattr(root: string): Promise<boolean> {
  if (fsTypeName(statFs(root).type) === "tmpfs") return false;
  return kernelAtLeast(5, 11) || testUserXattr(root);
}

/** Some distributions brought the option to older kernels. */
async function testUserXattr(root: string): Promise<boolean> {
  try {
    return await withProbeDirectory(root, "userxattr", async (directory) => {
      const [lower, upper, work] = ["lower", "upper", "work"].map((name) => join(directory, name));
      for (const path of ["lower", "upper", "work"]) await mkdir(join(directory, path));
      const options = [`lowerdir=${lower}`, `upperdir=${upper}`, `workdir=${work}`, "userxattr"];
      await using _mount = await mountTemporary([{ type: "overlay", source: "overlay", options }], { directory });
      return true;
    });
  } catch {
    return false;
  }
}

/**
 * This says whether directory entries tell their type (`d_type`), without which overlayfs mistakes white-outs for files.
 *
 * Node asks `lstat` where an entry has no type, and hides that. Here the directory is renamed between opening and reading, so that
 * such a question finds nothing.
 */
export function supportsDirectoryTypes(root: string): Promise<boolean> {
  return withProbeDirectory(root, "d-type", tellsTypes);
}

async function tellsTypes(directory: string): Promise<boolean> {
  const [before, after] = [join(directory, "before"), join(directory, "after")];
  try {
    await mkdir(before);
    await writeFile(join(before, "file"), "");
    const entries = opendirSync(before);
    try {
      renameSync(before, after);
      return entries.readSync()?.isFile() ?? false;
    } finally {
      entries.closeSync();
    }
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return false;
    throw error;
  }
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
