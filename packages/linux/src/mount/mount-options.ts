import type { Mount } from "@berth/core/mount";
import { invalidArgument } from "@berth/errors";

/** What this package mounts: the contract's `Mount`, whose `target` may be left out. */
export interface LinuxMount extends Omit<Mount, "target"> {
  /** Path below the place where it is mounted; it cannot lead out of there. */
  readonly target?: string;
}

export const MS_RDONLY = 0x1;
export const MS_NOSUID = 0x2;
export const MS_NODEV = 0x4;
export const MS_NOEXEC = 0x8;
const MS_SYNCHRONOUS = 0x10;
export const MS_REMOUNT = 0x20;
const MS_MANDLOCK = 0x40;
const MS_DIRSYNC = 0x80;
export const MS_NOATIME = 0x400;
export const MS_NODIRATIME = 0x800;
export const MS_BIND = 0x1000;
export const MS_REC = 0x4000;
export const MS_RELATIME = 0x200000;
export const MS_STRICTATIME = 0x1000000;

/** Word of an option → flag, and whether the word takes it away. */
const FLAGS: ReadonlyMap<string, readonly [flag: number, clear: boolean]> = new Map([
  ["async", [MS_SYNCHRONOUS, true]],
  ["atime", [MS_NOATIME, true]],
  ["bind", [MS_BIND, false]],
  ["defaults", [0, false]],
  ["dev", [MS_NODEV, true]],
  ["diratime", [MS_NODIRATIME, true]],
  ["dirsync", [MS_DIRSYNC, false]],
  ["exec", [MS_NOEXEC, true]],
  ["mand", [MS_MANDLOCK, false]],
  ["noatime", [MS_NOATIME, false]],
  ["nodev", [MS_NODEV, false]],
  ["nodiratime", [MS_NODIRATIME, false]],
  ["noexec", [MS_NOEXEC, false]],
  ["nomand", [MS_MANDLOCK, true]],
  ["norelatime", [MS_RELATIME, true]],
  ["nostrictatime", [MS_STRICTATIME, true]],
  ["nosuid", [MS_NOSUID, false]],
  ["rbind", [MS_BIND | MS_REC, false]],
  ["relatime", [MS_RELATIME, false]],
  ["remount", [MS_REMOUNT, false]],
  ["ro", [MS_RDONLY, false]],
  ["rw", [MS_RDONLY, true]],
  ["strictatime", [MS_STRICTATIME, false]],
  ["suid", [MS_NOSUID, true]],
  ["sync", [MS_SYNCHRONOUS, false]],
]);

/** The options of a mount, sorted by who acts on them. */
export interface ParsedOptions {
  /** MS_* bits. */
  readonly flags: number;
  /** Words for the file system, in their order. */
  readonly data: readonly string[];
  readonly loop: boolean;
  /** Direct I/O of the loop device. */
  readonly directIo: boolean;
  /** `container:host:size[,…]`. */
  readonly uidMap?: string;
  readonly gidMap?: string;
}

/**
 * This sorts options as containerd does; a word it does not know, propagation words among them, goes to the file system.
 * @throws invalid_argument - an `X-containerd.` option, which is for the mount manager and may not reach the kernel;
 * only one of uidmap and gidmap; a NUL
 * @see containerd core/mount/mount_linux.go, parseMountOptions
 */
export function parseMountOptions(options: readonly string[]): ParsedOptions {
  let flags = 0;
  const data: string[] = [];
  const special = new Map<string, string>();
  for (const option of options) {
    if (option.includes("\0")) throw invalidArgument(`mount option ${JSON.stringify(option)} holds a NUL`);
    if (option.startsWith("X-containerd.")) throw invalidArgument(`mount option ${option} is not for the kernel`);
    const known = FLAGS.get(option);
    if (known) flags = known[1] ? flags & ~known[0] : flags | known[0];
    else if (option === "loop" || option === "direct-io") special.set(option, "");
    else if (option.startsWith("uidmap=")) special.set("uidmap", option.slice("uidmap=".length));
    else if (option.startsWith("gidmap=")) special.set("gidmap", option.slice("gidmap=".length));
    else if (option !== "") data.push(option);
  }
  const uidMap = special.get("uidmap");
  const gidMap = special.get("gidmap");
  if ((uidMap === undefined) !== (gidMap === undefined)) {
    throw invalidArgument("mount options uidmap and gidmap are only valid together");
  }
  return {
    flags,
    data,
    loop: special.has("loop"),
    directIo: special.has("direct-io"),
    ...(uidMap === undefined || gidMap === undefined ? {} : { uidMap, gidMap }),
  };
}
