import { execFile } from "node:child_process";
import { constants } from "node:fs";
import { lstat, mkdtemp, open, rmdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

import type { Mount } from "@berth/core/mount";
import { isNotFound, messageOf, permissionDenied, wrapError } from "@berth/errors";
import type { UserFiles } from "@berth/oci/spec";

/** More users than any real image has; what is beyond is not read. */
const MAX_BYTES = 4 * 1024 * 1024;

const run = promisify(execFile);

/**
 * This mounts a root file system for a moment, read-only and by `mount(8)`, and reads its `/etc/passwd` and `/etc/group`: what `createContainer` does where an image names its
 * user. It takes root's rights, on the daemon's machine. A file that is a link, or below one, counts as absent: it could lead out of the root file system.
 *
 * @throws permission_denied - it cannot be mounted
 */
export async function readMountedUserFiles(mounts: readonly Mount[]): Promise<UserFiles> {
  await using mounted = await mountForReading(mounts);
  const { path } = mounted;
  return { passwd: await readPlain(path, "passwd"), group: await readPlain(path, "group") };
}

async function mountForReading(mounts: readonly Mount[]): Promise<AsyncDisposable & { readonly path: string }> {
  await using undo = new AsyncDisposableStack();
  const path = await mkdtemp(join(tmpdir(), "berth-users-"));
  // Not `rm`: nothing below a mount that stayed is deleted by mistake.
  undo.defer(() => rmdir(path));
  for (const { type, source, target, options } of mounts) {
    // Overlayfs does not take up a volatile upper directory twice.
    const flags = [...options.filter((option) => option !== "volatile" && option !== "rw"), "ro"];
    // To mount(8) a bind mount is no type but an option.
    const kind = type === "bind" ? [] : ["-t", type];
    try {
      await run("mount", [...kind, "-o", flags.join(","), "--", source, join(path, target)]);
    } catch (error) {
      throw permissionDenied(`mount a root file system to look up its user: ${messageOf(error)}`, { cause: error });
    }
    undo.defer(async () => void (await run("umount", [join(path, target)])));
  }
  const owned = undo.move();
  return { path, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

async function readPlain(root: string, name: string): Promise<string | undefined> {
  const directory = join(root, "etc");
  try {
    if (!(await lstat(directory)).isDirectory()) return undefined;
    if (!(await lstat(join(directory, name))).isFile()) return undefined;
    await using file = await open(join(directory, name), constants.O_RDONLY | constants.O_NOFOLLOW);
    const buffer = new Uint8Array(Math.min((await file.stat()).size, MAX_BYTES));
    const { bytesRead } = await file.read(buffer, 0, buffer.length, 0);
    return new TextDecoder().decode(buffer.subarray(0, bytesRead));
  } catch (error) {
    const wrapped = wrapError(error, `read /etc/${name} of a root file system`);
    if (isNotFound(wrapped)) return undefined;
    throw wrapped;
  }
}
