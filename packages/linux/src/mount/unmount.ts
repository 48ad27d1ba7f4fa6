import { realpathSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { nativePath } from "../libc.ts";
import { systemError } from "../system-error.ts";
import { native } from "./mount-calls.ts";
import { readMountInfo } from "./mount-info.ts";

const MNT_FORCE = 1;
const MNT_DETACH = 2;
const UMOUNT_NOFOLLOW = 8;
const EBUSY = 16;
const EINVAL = 22;
const ENOENT = 2;
const EIO = 5;
const BUSY_ATTEMPTS = 50;
const BUSY_PAUSE_MS = 50;
const STACK_LIMIT = 10_000;

/** How to unmount. */
export interface UnmountOptions {
  /** Take it out of the tree now; it ends when nobody uses it any more. */
  readonly detach?: boolean;
  /** Abort pending requests (network and FUSE file systems). */
  readonly force?: boolean;
  readonly signal?: AbortSignal;
}

function flagsOf(options: UnmountOptions): number {
  // never through a link in the last place: what lies below a container's root belongs to the container
  return UMOUNT_NOFOLLOW | (options.detach ? MNT_DETACH : 0) | (options.force ? MNT_FORCE : 0);
}

function errnoOf(error: unknown): number | undefined {
  return error instanceof Error && "errno" in error && typeof error.errno === "number" ? -error.errno : undefined;
}

async function unmountPatiently(path: string, options: UnmountOptions): Promise<boolean> {
  for (let attempt = 1; ; attempt += 1) {
    options.signal?.throwIfAborted();
    // In the pool: the last unmount of a file system writes out what is dirty, for as long as that takes.
    const { result, errno } = await native.umount2.async(nativePath(path, "umount2"), flagsOf(options));
    if (result === 0) return true;
    if (errno === EINVAL) return false;
    if (errno !== EBUSY || attempt >= BUSY_ATTEMPTS) throw systemError(errno, "umount2", path);
    await sleep(BUSY_PAUSE_MS, undefined, options);
  }
}

/**
 * This unmounts what is mounted at a path, the topmost one only, and is content where nothing is.
 * A busy mount is tried again for 2.5 s.
 * @throws EBUSY - it still is busy
 * @throws ENOENT - there is no such path
 */
export async function unmount(path: string, options: UnmountOptions = {}): Promise<void> {
  await unmountPatiently(path, options);
}

/** This unmounts everything that is mounted at a path, one over the other; a path that does not exist is fine. */
export async function unmountAll(path: string, options: UnmountOptions = {}): Promise<void> {
  try {
    for (let count = 0; count < STACK_LIMIT; count += 1) {
      if (!(await unmountPatiently(path, options))) return;
    }
  } catch (error) {
    if (errnoOf(error) !== ENOENT) throw error;
  }
}

/** This unmounts everything at and below a path, the deepest first; a path that does not exist is fine. */
export async function unmountRecursive(path: string, options: UnmountOptions = {}): Promise<void> {
  const real = realPath(resolve(path));
  if (real === undefined) return;
  const prefix = real === "/" ? "/" : `${real}/`;
  const points = readMountInfo()
    .map((mount) => mount.mountPoint)
    .filter((point) => point === real || point.startsWith(prefix));
  // a stack of mounts at one point is listed as often as it is deep, and so unmounted as often
  for (const point of points.toSorted((a, b) => b.length - a.length)) await unmountPatiently(point, options);
}

/** On a file system that has failed nothing can be looked up; mount points are still known by the paths that they had. */
function realPath(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch (error) {
    if (errnoOf(error) === ENOENT) return undefined;
    if (errnoOf(error) !== EIO || path === dirname(path)) throw error;
  }
  const parent = realPath(dirname(path));
  return parent === undefined ? undefined : join(parent, basename(path));
}
