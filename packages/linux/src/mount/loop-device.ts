import { constants } from "node:fs";
import { type FileHandle, open, realpath, stat } from "node:fs/promises";

import { KeyedLock } from "@berth/core/keyed-lock";

import { bind, checkInPool } from "../libc.ts";
import { systemError } from "../system-error.ts";
import { findLoopDevices } from "./loop-backing.ts";

const native = {
  ioctlNumber: bind<[number, number, number], number>("ioctl", "int", ["int", "ulong", "long"]),
  ioctl: bind<[number, number, Uint8Array], number>("ioctl", "int", ["int", "ulong", "void *"]),
};

const LOOP_CONFIGURE = 0x4c0a;
const LOOP_CLR_FD = 0x4c01;
const LOOP_SET_STATUS64 = 0x4c04;
const LOOP_GET_STATUS64 = 0x4c05;
const LOOP_CTL_GET_FREE = 0x4c82;
const LO_FLAGS_READ_ONLY = 1;
const LO_FLAGS_AUTOCLEAR = 4;
const LO_FLAGS_DIRECT_IO = 16;
const CONFIG_SIZE = 304; // struct loop_config: fd, block size, loop_info64 of 232 bytes, 8 reserved words
const INFO_OFFSET = 8;
const INFO_SIZE = 232;
// in loop_info64
const DEVICE_OFFSET = 0;
const INODE_OFFSET = 8;
const OFFSET_OFFSET = 24;
const SIZE_OFFSET = 32;
const FLAGS_OFFSET = 52;
const NAME_OFFSET = 56;
const NAME_SIZE = 64;
const EBUSY = 16;
const ENXIO = 6;
const ENOENT = 2;
const ATTEMPTS = 100;

/** How a loop device is set up. */
export interface LoopOptions {
  readonly readOnly?: boolean;
  readonly directIo?: boolean;
  /** What the device is known by afterwards, at most 63 bytes; default the path of the file. */
  readonly name?: string;
}

/** A loop device that disappears with its last user: this handle, or a mount. */
export interface LoopDevice extends AsyncDisposable {
  readonly path: string;
  /** This makes the device stay without a user, until {@link detachLoopDevice}. */
  keep(): Promise<void>;
}

function configuration(backing: number, file: string, options: LoopOptions): Uint8Array {
  const config = new Uint8Array(CONFIG_SIZE);
  const view = new DataView(config.buffer);
  view.setUint32(0, backing, true);
  const readOnly = options.readOnly ? LO_FLAGS_READ_ONLY : 0;
  const flags = LO_FLAGS_AUTOCLEAR | readOnly | (options.directIo ? LO_FLAGS_DIRECT_IO : 0);
  view.setUint32(INFO_OFFSET + FLAGS_OFFSET, flags, true);
  config.set(encodeName(options.name ?? file), INFO_OFFSET + NAME_OFFSET);
  return config;
}

function encodeName(name: string): Uint8Array {
  return new TextEncoder().encode(name).subarray(0, NAME_SIZE - 1);
}

/**
 * This attaches a file to a free loop device with autoclear; mount it, then dispose the handle. The calls are made in libuv's pool:
 * on a busy disk they take up to a second.
 * @throws ENOENT - no such file, or no loop driver
 */
export async function attachLoopDevice(file: string, options: LoopOptions = {}): Promise<LoopDevice> {
  const access = options.readOnly ? constants.O_RDONLY : constants.O_RDWR;
  await using backing = await open(file, access);
  await using control = await open("/dev/loop-control", constants.O_RDWR);
  const config = configuration(backing.fd, file, options);
  for (let attempt = 1; ; attempt += 1) {
    const free = native.ioctlNumber.async(control.fd, LOOP_CTL_GET_FREE, 0);
    const path = `/dev/loop${await checkInPool(free, "ioctl", "/dev/loop-control")}`;
    const device = await open(path, access);
    const { result, errno } = await native.ioctl.async(device.fd, LOOP_CONFIGURE, config);
    if (result === 0) return handle(path, device);
    await device.close();
    // another process was faster, or another call
    if (errno !== EBUSY || attempt === ATTEMPTS) throw systemError(errno, "ioctl", path);
  }
}

/** Files that a device is looked for, or made of. */
const wanted = new KeyedLock();

/**
 * This gives a writable loop device of a file: the one that it is attached to already, or a new one. Two would write past each
 * other's caches; a file system that is mounted twice from one device is one and the same.
 * @throws ENOENT - no such file, or no loop driver
 */
export async function writableLoopDevice(
  file: string,
  options: Pick<LoopOptions, "directIo"> = {},
): Promise<LoopDevice> {
  using _turn = await wanted.acquire(await realpath(file));
  for (const path of findLoopDevices(file)) {
    const found = await reopen(path, file);
    if (found !== undefined) return found;
  }
  return await attachLoopDevice(file, options);
}

/** A device may go, and another take its number, until it is open. */
async function reopen(path: string, file: string): Promise<LoopDevice | undefined> {
  let device: FileHandle;
  try {
    device = await open(path, constants.O_RDWR);
  } catch {
    // gone since, or read-only
    return undefined;
  }
  const info = new Uint8Array(INFO_SIZE);
  const { dev, ino } = await stat(file, { bigint: true });
  const { result } = await native.ioctl.async(device.fd, LOOP_GET_STATUS64, info);
  if (result === 0) {
    const view = new DataView(info.buffer);
    const isWhole = view.getBigUint64(OFFSET_OFFSET, true) === 0n && view.getBigUint64(SIZE_OFFSET, true) === 0n;
    const isSame = view.getBigUint64(DEVICE_OFFSET, true) === dev && view.getBigUint64(INODE_OFFSET, true) === ino;
    const isReadOnly = (view.getUint32(FLAGS_OFFSET, true) & LO_FLAGS_READ_ONLY) !== 0;
    if (isSame && isWhole && !isReadOnly) return handle(path, device);
  }
  await device.close();
  return undefined;
}

function handle(path: string, device: FileHandle): LoopDevice {
  const keep = async (): Promise<void> => {
    const info = new Uint8Array(INFO_SIZE);
    await checkInPool(native.ioctl.async(device.fd, LOOP_GET_STATUS64, info), "ioctl", path);
    const view = new DataView(info.buffer);
    view.setUint32(FLAGS_OFFSET, view.getUint32(FLAGS_OFFSET, true) & ~LO_FLAGS_AUTOCLEAR, true);
    await checkInPool(native.ioctl.async(device.fd, LOOP_SET_STATUS64, info), "ioctl", path);
  };
  return { path, keep, [Symbol.asyncDispose]: () => device.close() };
}

/** This says whether a device is attached under a name; what else goes by its number since is none of the caller's. */
export async function isLoopDeviceAttached(path: string, name: string): Promise<boolean> {
  return await withAttached(path, name, async () => {});
}

/**
 * This detaches a device that was attached under a name and kept: at once, or when its last user goes.
 * `false` where the device is not attached, or under another name.
 */
export async function detachLoopDevice(path: string, name: string): Promise<boolean> {
  return await withAttached(path, name, async (device) => {
    await checkInPool(native.ioctlNumber.async(device, LOOP_CLR_FD, 0), "ioctl", path);
  });
}

async function withAttached(path: string, name: string, act: (device: number) => Promise<void>): Promise<boolean> {
  const device = await openIfThere(path);
  if (device === undefined) return false;
  // The last to close a device waits until what was written to it is on disk.
  await using _device = device;
  const info = new Uint8Array(INFO_SIZE);
  const { result, errno } = await native.ioctl.async(device.fd, LOOP_GET_STATUS64, info);
  if (result === -1) {
    if (errno === ENXIO) return false;
    throw systemError(errno, "ioctl", path);
  }
  const found = info.subarray(NAME_OFFSET, NAME_OFFSET + NAME_SIZE);
  const expected = encodeName(name);
  if (Buffer.compare(found.subarray(0, expected.length + 1), Buffer.concat([expected, Uint8Array.of(0)])) !== 0)
    return false;
  await act(device.fd);
  return true;
}

async function openIfThere(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, constants.O_RDONLY);
  } catch (error) {
    if (error instanceof Error && "errno" in error && (error.errno === -ENXIO || error.errno === -ENOENT)) {
      return undefined;
    }
    throw error;
  }
}
