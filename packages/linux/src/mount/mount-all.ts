import { closeSync, constants, openSync, readlinkSync, realpathSync } from "node:fs";
import { join, relative } from "node:path";

import { invalidArgument } from "@berth/errors";

import { openat2, O_PATH, RESOLVE_IN_ROOT } from "../files/at-calls.ts";
import { mountAttributes } from "./file-system-context.ts";
import { mountFuse } from "./fuse-mount.ts";
import { bindIdmapped } from "./idmapped-mount.ts";
import { attachLoopDevice, type LoopDevice, writableLoopDevice } from "./loop-device.ts";
import { attach, callMount, cloneMount } from "./mount-calls.ts";
import { readMountInfo } from "./mount-info.ts";
import {
  type LinuxMount,
  MS_BIND,
  MS_NOATIME,
  MS_NODEV,
  MS_NODIRATIME,
  MS_NOEXEC,
  MS_NOSUID,
  MS_RDONLY,
  MS_REC,
  MS_RELATIME,
  MS_REMOUNT,
  parseMountOptions,
  type ParsedOptions,
} from "./mount-options.ts";
import { commonDirectory, DATA_LIMIT, mountOverlay, splitLowerDirectories } from "./overlay-mount.ts";
import { unmount } from "./unmount.ts";

/**
 * This mounts a list in order, one over the other, at a directory or file. When one fails, those before are taken away. Whatever
 * may wait for a disk is done in libuv's pool.
 *
 * @throws invalid_argument - an option that may not reach the kernel, or more options than it takes
 * @throws ENOENT, EINVAL, EPERM, … - of the kernel
 * @see containerd core/mount/mount_linux.go, Mount.mount
 */
export async function mountAll(mounts: readonly LinuxMount[], target: string): Promise<void> {
  const done: string[] = [];
  try {
    for (const mount of mounts) {
      const place = placeBelow(target, mount.target ?? "");
      await mountOne(mount, place);
      done.push(place);
    }
  } catch (error) {
    for (const place of done.toReversed()) await unmount(place, { detach: true });
    throw error;
  }
}

/** A link inside the root must not send the mount out of it: the kernel resolves the path as if the root were `/`. */
function placeBelow(root: string, path: string): string {
  if (path === "" || path === "/" || path === ".") return root;
  const directory = openSync(root, O_PATH | constants.O_DIRECTORY);
  try {
    const place = openat2(directory, path, { flags: O_PATH, resolve: RESOLVE_IN_ROOT });
    try {
      return readlinkSync(`/proc/self/fd/${place}`);
    } finally {
      closeSync(place);
    }
  } finally {
    closeSync(directory);
  }
}

async function mountOne(mount: LinuxMount, target: string): Promise<void> {
  if (mount.type.startsWith("fuse.") || mount.type.startsWith("fuse3.")) {
    await mountFuse(mount, target);
    return;
  }
  const options = parseMountOptions(mount.options);
  const { uidMap, gidMap } = options;
  if (uidMap !== undefined && gidMap !== undefined) await mountMapped(mount, target, options, { uidMap, gidMap });
  else if (mount.type === "overlay") await mountOverlay(mount.source, target, options);
  else await mountPlain(mount, target, options);
}

async function mountPlain(mount: LinuxMount, target: string, options: ParsedOptions): Promise<void> {
  const data = plainData(target, options);
  await using device = options.loop ? await loopDeviceOf(mount.source, options) : undefined;
  await callMount(device?.path ?? mount.source, target, mount.type, options.flags, data);
  const bind = options.flags & MS_BIND;
  // the kernel ignores every other flag while it makes a bind mount
  if (bind !== 0 && (options.flags & MS_RDONLY) !== 0) await remountReadOnly(target, options.flags);
}

function plainData(target: string, options: ParsedOptions): string {
  const data = options.data.join(",");
  if (data.length > DATA_LIMIT) throw invalidArgument(`mount ${target}: options of ${data.length} bytes are too long`);
  return data;
}

function loopDeviceOf(file: string, { flags, directIo }: ParsedOptions): Promise<LoopDevice> {
  return flags & MS_RDONLY
    ? attachLoopDevice(file, { readOnly: true, directIo })
    : writableLoopDevice(file, { directIo });
}

/** In a user namespace the flags of the source are locked: a remount that leaves them out is refused. */
const LOCKED: readonly (readonly [word: string, flag: number])[] = [
  ["nosuid", MS_NOSUID],
  ["nodev", MS_NODEV],
  ["noexec", MS_NOEXEC],
  ["noatime", MS_NOATIME],
  ["nodiratime", MS_NODIRATIME],
  ["relatime", MS_RELATIME],
];

async function remountReadOnly(target: string, flags: number): Promise<void> {
  const wanted = flags | MS_REMOUNT;
  try {
    try {
      await callMount("", target, "", wanted, "");
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "EPERM")) throw error;
      await callMount("", target, "", wanted | lockedFlags(target), "");
    }
  } catch (error) {
    // a writable mount must not stay where a read-only one was asked for
    await unmount(target, { detach: true });
    throw error;
  }
}

function lockedFlags(target: string): number {
  const real = realpathSync(target);
  const options = readMountInfo().findLast((mount) => mount.mountPoint === real)?.options ?? [];
  return LOCKED.reduce((flags, [word, flag]) => (options.includes(word) ? flags | flag : flags), 0);
}

interface Maps {
  readonly uidMap: string;
  readonly gidMap: string;
}

async function mountMapped(mount: LinuxMount, target: string, options: ParsedOptions, maps: Maps): Promise<void> {
  const attributes = mountAttributes(options.flags);
  if (mount.type === "overlay") await mountMappedOverlay(mount, target, options, maps);
  else if (options.flags & MS_BIND) {
    await bindIdmapped(mount.source, target, { ...maps, attributes, recursive: (options.flags & MS_REC) !== 0 });
  } else {
    // only a detached clone of a mount can be mapped: it takes the place of the mount itself
    await mountPlain(mount, target, options);
    try {
      await bindIdmapped(target, target, { ...maps, attributes });
    } catch (error) {
      await unmount(target, { detach: true });
      throw error;
    }
  }
}

/**
 * An overlay cannot be mapped, its lower layers can: their common directory is mapped for as long as the mount takes. It lies at the
 * target meanwhile, where whoever clears that away finds what a killed process has left.
 */
async function mountMappedOverlay(
  mount: LinuxMount,
  target: string,
  options: ParsedOptions,
  maps: Maps,
): Promise<void> {
  const lower = options.data.find((option) => option.startsWith("lowerdir="))?.slice("lowerdir=".length);
  if (lower === undefined) throw invalidArgument(`mount ${target}: an idmapped overlay without lowerdir`);
  const layers = splitLowerDirectories(lower);
  const common = commonDirectory(layers);
  const mapped = layers.map((layer) => join(target, relative(common, layer)).replaceAll(/[\\:]/g, "\\$&"));
  const data = options.data.map((option) => (option.startsWith("lowerdir=") ? `lowerdir=${mapped.join(":")}` : option));
  await using mounted = new AsyncDisposableStack();
  await bindIdmapped(common, target, { ...maps, attributes: mountAttributes(MS_RDONLY) });
  mounted.defer(() => unmount(target, { detach: true }));
  await mountOverlay(mount.source, target, { ...options, data });
  mounted.defer(() => unmount(target, { detach: true }));
  using descriptors = new DisposableStack();
  const overlay = descriptors.adopt(await cloneMount(target), closeSync);
  await mounted.disposeAsync();
  await attach(overlay, target);
}
