import { constants, fstatSync, ftruncate, fsync } from "node:fs";
import { promisify } from "node:util";

import type { CallOptions } from "@berth/core/any";
import { KeyedLock } from "@berth/core/keyed-lock";
import type { Mount } from "@berth/core/mount";
import {
  failedPrecondition,
  ignoreNotFound,
  internal,
  invalidArgument,
  isNotFound,
  messageOf,
  systemErrorCode,
} from "@berth/errors";
import { closeFd, O_PATH, openat2, RENAME_NOREPLACE, renameat2, unlinkat } from "@berth/linux/files";
import { runProgram } from "@berth/linux/process";

import type { AllowedRoots, Place } from "./allowed-roots.ts";
import { parseMkfsOptions, type WantedFileSystem } from "./mkfs-options.ts";

/** Makes the image that a mount names and takes its own options off the mount. */
export type FileSystemMaker = (mount: Mount, options: CallOptions & { readonly roots: AllowedRoots }) => Promise<Mount>;

const FILE_MODE = 0o640;
/** A big image on a slow disk. */
const TIMEOUT_MS = 300_000;
/** The descriptor of the image in the program that formats it. */
const IMAGE_FD = 3;

/**
 * This makes the image of a mount, a file with a file system in it, where there is none under its name, as its options
 * `X-containerd.mkfs.size=`, `.fs=` and `.uuid=` want it. A crash leaves no image that is half made under that name.
 *
 * @throws invalid_argument - an option is missing or malformed
 * @throws failed_precondition - the image lies outside of the roots, or is no regular file; the program that makes such file systems is
 * not there
 * @see containerd core/mount/manager/mkfs.go
 */
export function createFileSystemMaker(): FileSystemMaker {
  const lock = new KeyedLock();
  return async (mount, { roots, signal }) => {
    const { options, wanted } = parseMkfsOptions(mount.options);
    using _lock = await lock.acquire(mount.source, { signal });
    using place = roots.open(mount.source);
    if (!isFileThere(place, mount.source)) await makeImage(place, wanted, signal);
    return { ...mount, options };
  };
}

function isFileThere({ directory, name }: Place, path: string): boolean {
  let found: number;
  try {
    found = openat2(directory, name, { flags: O_PATH | constants.O_NOFOLLOW });
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return false;
    throw error;
  }
  try {
    if (!fstatSync(found).isFile()) throw failedPrecondition(`${path} is no regular file`);
    return true;
  } finally {
    closeFd(found);
  }
}

async function makeImage(place: Place, wanted: WantedFileSystem, signal: AbortSignal | undefined): Promise<void> {
  const { directory, name } = place;
  const hidden = `.${name}.mkfs`;
  removeLeft(directory, hidden);
  using undo = new DisposableStack();
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
  const image = undo.adopt(openat2(directory, hidden, { flags, mode: FILE_MODE }), closeFd);
  using unfinished = new DisposableStack();
  unfinished.defer(() => removeLeft(directory, hidden));
  await promisify(ftruncate)(image, wanted.sizeBytes);
  await format(image, wanted, signal);
  await promisify(fsync)(image);
  renameat2(directory, hidden, directory, name, RENAME_NOREPLACE);
  unfinished.move();
  await promisify(fsync)(directory);
}

async function format(
  image: number,
  { type, uuid, sizeBytes }: WantedFileSystem,
  signal: AbortSignal | undefined,
): Promise<void> {
  const path = `mkfs.${type}`;
  const uuidArgs = uuid === undefined ? [] : type === "xfs" ? ["-m", `uuid=${uuid}`] : ["-U", uuid];
  const args = ["-q", ...uuidArgs, `/proc/self/fd/${IMAGE_FD}`];
  const extraFds = new Map([[IMAGE_FD, image]]);
  const { status, output } = await runProgram({ path, args, extraFds, timeoutMs: TIMEOUT_MS, signal }).catch(missing);
  if (status === 0) return;
  const said = output.trim().slice(0, 1000);
  // The one thing about the image that the caller chose is its size.
  if (/too small|too big|larger than|minimum/i.test(said))
    throw invalidArgument(`${path} of ${sizeBytes} bytes: ${said}`);
  throw internal(`${path} ended with status ${status}: ${said}`);
}

/** A program that is missing is no missing activation. */
function missing(error: unknown): never {
  throw isNotFound(error) ? failedPrecondition(messageOf(error), { cause: error }) : error;
}

function removeLeft(directory: number, name: string): void {
  try {
    unlinkat(directory, name);
  } catch (error) {
    ignoreNotFound(error);
  }
}
