import { constants } from "node:fs";

import type { Mount } from "@berth/core/mount";
import { failedPrecondition, ignoreNotFound, invalidArgument, systemErrorCode } from "@berth/errors";
import {
  AT_REMOVEDIR,
  closeFd,
  fchmodat,
  fchownat,
  mkdirat,
  O_PATH,
  openat2,
  RENAME_NOREPLACE,
  renameat2,
  unlinkat,
} from "@berth/linux/files";

import type { AllowedRoots, Place } from "./allowed-roots.ts";

const PREFIX = "X-containerd.mkdir.";
const PATH = `${PREFIX}path=`;
const DEFAULT_MODE = 0o700;
const MAX_ID = 0xfffffffe;

interface WantedDirectory {
  readonly path: string;
  readonly mode: number;
  readonly owner: { readonly uid: number; readonly gid: number } | undefined;
}

/**
 * This makes a directory for each option `X-containerd.mkdir.path=<directory>[:<octal mode>[:<uid>:<gid>]]` and takes those options
 * off the mount. A directory that is there is left as it is: its owner and mode may have been changed from inside a container since.
 *
 * @throws invalid_argument - an option is malformed
 * @throws failed_precondition - a path lies outside of the roots, or something else is in its place
 * @see containerd core/mount/manager/mkdir.go
 */
export function makeDirectories(mount: Mount, roots: AllowedRoots): Mount {
  const own = mount.options.filter((option) => option.startsWith(PREFIX));
  for (const wanted of own.map(parseOption)) {
    using place = roots.open(wanted.path);
    if (!isDirectoryThere(place, wanted.path)) makeDirectory(place, wanted);
  }
  return { ...mount, options: mount.options.filter((option) => !option.startsWith(PREFIX)) };
}

function parseOption(option: string): WantedDirectory {
  const bad = () =>
    invalidArgument(`mount option ${JSON.stringify(option)} is not path=<directory>[:<mode>[:<uid>:<gid>]]`);
  if (!option.startsWith(PATH)) throw bad();
  const [path = "", mode = "", uid, gid, ...more] = option.slice(PATH.length).split(":");
  const isModeFine = mode === "" ? uid === undefined : /^[0-7]{1,4}$/.test(mode) && Number.parseInt(mode, 8) <= 0o777;
  if (!isModeFine || more.length > 0 || (uid === undefined) !== (gid === undefined)) throw bad();
  const owner = uid === undefined || gid === undefined ? undefined : { uid: parseId(uid), gid: parseId(gid) };
  if (owner !== undefined && (Number.isNaN(owner.uid) || Number.isNaN(owner.gid))) throw bad();
  return { path, mode: mode === "" ? DEFAULT_MODE : Number.parseInt(mode, 8), owner };
}

function parseId(text: string): number {
  const id = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN;
  return id <= MAX_ID ? id : Number.NaN;
}

function isDirectoryThere({ directory, name }: Place, path: string): boolean {
  const flags = O_PATH | constants.O_DIRECTORY | constants.O_NOFOLLOW;
  try {
    closeFd(openat2(directory, name, { flags }));
    return true;
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === "ENOENT") return false;
    if (code === "ENOTDIR" || code === "ELOOP") throw failedPrecondition(`${path} is no directory`, { cause: error });
    throw error;
  }
}

/** It gets its name when it is complete: a crash leaves none of another mode or owner under it. */
function makeDirectory({ directory, name }: Place, { mode, owner }: WantedDirectory): void {
  const hidden = `.${name}.mkdir`;
  removeLeft(directory, hidden);
  mkdirat(directory, hidden, mode);
  if (owner !== undefined) fchownat(directory, hidden, owner.uid, owner.gid);
  // after the owner, which takes bits away, and in spite of the umask
  fchmodat(directory, hidden, mode);
  renameat2(directory, hidden, directory, name, RENAME_NOREPLACE);
}

function removeLeft(directory: number, name: string): void {
  try {
    unlinkat(directory, name, AT_REMOVEDIR);
  } catch (error) {
    ignoreNotFound(error);
  }
}
