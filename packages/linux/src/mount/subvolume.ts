import { closeSync, constants, openSync } from "node:fs";
import { basename, dirname } from "node:path";

import { bind, checkInPool } from "../libc.ts";
import { systemError } from "../system-error.ts";

const native = { ioctl: bind<[number, number, Uint8Array], number>("ioctl", "int", ["int", "ulong", "void *"]) };

const SNAP_DESTROY = 0x5000940f;
const SNAP_CREATE_V2 = 0x50009417;
const SUBVOL_CREATE_V2 = 0x50009418;
const INO_LOOKUP = 0xd0009412;
const ARGUMENT_SIZE = 4096;
const NAME_OFFSET = 8; // struct btrfs_ioctl_vol_args: fd, name
const NAME_OFFSET_V2 = 56; // struct btrfs_ioctl_vol_args_v2: fd, transid, flags, four words, name
const FLAGS_OFFSET_V2 = 16;
const NAME_LIMIT = 255;
const SUBVOL_RDONLY = 2n;
const FIRST_FREE_OBJECTID = 256n;
const ENAMETOOLONG = 36;

const DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

/** In the pool: making and deleting subvolumes commits a transaction of the file system. */
async function control(descriptor: number, request: number, argument: Uint8Array, path: string): Promise<void> {
  await checkInPool(native.ioctl.async(descriptor, request, argument), "ioctl", path);
}

function named(path: string, offset: number): { argument: Uint8Array; view: DataView } {
  const argument = new Uint8Array(ARGUMENT_SIZE);
  const name = new TextEncoder().encode(basename(path));
  if (name.length > NAME_LIMIT) throw systemError(ENAMETOOLONG, "ioctl", path);
  argument.set(name, offset);
  return { argument, view: new DataView(argument.buffer) };
}

/**
 * This makes an empty subvolume of btrfs.
 * @throws EEXIST; ENOTTY - the file system is another one
 */
export async function createSubvolume(path: string): Promise<void> {
  using open = new DisposableStack();
  const parent = open.adopt(openSync(dirname(path), DIRECTORY), closeSync);
  await control(parent, SUBVOL_CREATE_V2, named(path, NAME_OFFSET_V2).argument, path);
}

/**
 * This makes a subvolume that begins as a copy of another, which it shares everything with.
 * @throws EEXIST; ENOENT - no such source; EINVAL - the source is no subvolume
 */
export async function snapshotSubvolume(
  source: string,
  path: string,
  options: { readonly readOnly: boolean },
): Promise<void> {
  using open = new DisposableStack();
  const from = open.adopt(openSync(source, DIRECTORY), closeSync);
  const parent = open.adopt(openSync(dirname(path), DIRECTORY), closeSync);
  const { argument, view } = named(path, NAME_OFFSET_V2);
  view.setBigInt64(0, BigInt(from), true);
  view.setBigUint64(FLAGS_OFFSET_V2, options.readOnly ? SUBVOL_RDONLY : 0n, true);
  await control(parent, SNAP_CREATE_V2, argument, path);
}

/**
 * This deletes a subvolume with all that it holds, mounted or not.
 * @throws ENOENT; EINVAL - it is no subvolume; ENOTEMPTY - it holds another one
 */
export async function deleteSubvolume(path: string): Promise<void> {
  using open = new DisposableStack();
  const parent = open.adopt(openSync(dirname(path), DIRECTORY), closeSync);
  await control(parent, SNAP_DESTROY, named(path, NAME_OFFSET).argument, path);
}

/** This returns the id of the subvolume that holds a directory, as `subvolid=` takes it. @throws ENOENT, ENOTTY */
export async function subvolumeId(path: string): Promise<bigint> {
  using open = new DisposableStack();
  const directory = open.adopt(openSync(path, DIRECTORY), closeSync);
  const argument = new Uint8Array(ARGUMENT_SIZE);
  const view = new DataView(argument.buffer);
  view.setBigUint64(8, FIRST_FREE_OBJECTID, true);
  await control(directory, INO_LOOKUP, argument, path);
  return view.getBigUint64(0, true);
}
