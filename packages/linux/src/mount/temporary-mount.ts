import { mkdtemp, rmdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { mountAll } from "./mount-all.ts";
import type { LinuxMount } from "./mount-options.ts";
import { unmountAll } from "./unmount.ts";

/** Names of temporary mount points start with this: what a killed process left is found by it. */
export const TEMPORARY_MOUNT_PREFIX = "berth-mount-";

/** Where and until when. */
export interface TemporaryMountOptions {
  /** Directory of the mount point; default that of the system for temporary files. */
  readonly directory?: string;
  readonly signal?: AbortSignal;
}

/** Mounts at a place of their own; disposing unmounts them and removes the place. */
export interface TemporaryMount extends AsyncDisposable {
  readonly path: string;
}

/** overlay's `volatile` leaves a mark that forbids the next mount of the same upper directory. */
function withoutVolatile(mount: LinuxMount): LinuxMount {
  if (mount.type !== "overlay") return mount;
  return { ...mount, options: mount.options.filter((option) => option !== "volatile") };
}

/**
 * This mounts a list at a new directory. An empty list gives an empty directory.
 * When it throws nothing is left. Disposing never deletes what is mounted: a mount point that stays busy stays.
 */
export async function mountTemporary(
  mounts: readonly LinuxMount[],
  options: TemporaryMountOptions = {},
): Promise<TemporaryMount> {
  options.signal?.throwIfAborted();
  const path = await mkdtemp(join(options.directory ?? tmpdir(), TEMPORARY_MOUNT_PREFIX));
  let present = true;
  const dispose = async (): Promise<void> => {
    if (!present) return;
    await unmountAll(path);
    // only ever an empty directory: nothing below a mount can be deleted by mistake
    await rmdir(path);
    present = false;
  };
  try {
    options.signal?.throwIfAborted();
    await mountAll(mounts.map(withoutVolatile), path);
  } catch (error) {
    await dispose();
    throw error;
  }
  return { path, [Symbol.asyncDispose]: dispose };
}

/** This calls `fn` with the path of temporary mounts and takes them away afterwards, whatever the outcome. */
export async function withTemporaryMount<T>(
  mounts: readonly LinuxMount[],
  options: TemporaryMountOptions,
  fn: (path: string) => Promise<T> | T,
): Promise<T> {
  await using mounted = await mountTemporary(mounts, options);
  return await fn(mounted.path);
}
