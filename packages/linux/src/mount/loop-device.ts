import { closeSync, constants, openSync, statSync } from "node:fs";

import { bind, check, lastErrno } from "../libc.ts";
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
export interface LoopDevice extends Disposable {
  readonly path: string;
  /** This makes the device stay without a user, until {@link detachLoopDevice}. */
  keep(): void;
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
 * This attaches a file to a free loop device with autoclear; mount it, then dispose the handle.
 * @throws ENOENT - no such file, or no loop driver
 */
export function attachLoopDevice(file: string, options: LoopOptions = {}): LoopDevice {
  const access = options.readOnly ? constants.O_RDONLY : constants.O_RDWR;
  using stack = new DisposableStack();
  const backing = stack.adopt(openSync(file, access), closeSync);
  const control = stack.adopt(openSync("/dev/loop-control", constants.O_RDWR), closeSync);
  const config = configuration(backing, file, options);
  for (let attempt = 1; ; attempt += 1) {
    const path = `/dev/loop${check(native.ioctlNumber(control, LOOP_CTL_GET_FREE, 0), "ioctl", "/dev/loop-control")}`;
    const device = openSync(path, access);
    if (native.ioctl(device, LOOP_CONFIGURE, config) === 0) return handle(path, device);
    const errno = lastErrno();
    closeSync(device);
    // another process was faster
    if (errno !== EBUSY || attempt === ATTEMPTS) throw systemError(errno, "ioctl", path);
  }
}

/**
 * This gives a writable loop device of a file: the one that it is attached to already, or a new one. Two would write past each
 * other's caches; a file system that is mounted twice from one device is one and the same.
 * @throws ENOENT - no such file, or no loop driver
 */
export function writableLoopDevice(file: string, options: Pick<LoopOptions, "directIo"> = {}): LoopDevice {
  for (const path of findLoopDevices(file)) {
    const found = reopen(path, file);
    if (found !== undefined) return found;
  }
  return attachLoopDevice(file, options);
}

/** A device may go, and another take its number, until it is open. */
function reopen(path: string, file: string): LoopDevice | undefined {
  let device: number;
  try {
    device = openSync(path, constants.O_RDWR);
  } catch {
    // gone since, or read-only
    return undefined;
  }
  const info = new Uint8Array(INFO_SIZE);
  const { dev, ino } = statSync(file, { bigint: true });
  if (native.ioctl(device, LOOP_GET_STATUS64, info) === 0) {
    const view = new DataView(info.buffer);
    const isWhole = view.getBigUint64(OFFSET_OFFSET, true) === 0n && view.getBigUint64(SIZE_OFFSET, true) === 0n;
    const isSame = view.getBigUint64(DEVICE_OFFSET, true) === dev && view.getBigUint64(INODE_OFFSET, true) === ino;
    const isReadOnly = (view.getUint32(FLAGS_OFFSET, true) & LO_FLAGS_READ_ONLY) !== 0;
    if (isSame && isWhole && !isReadOnly) return handle(path, device);
  }
  closeSync(device);
  return undefined;
}

function handle(path: string, device: number): LoopDevice {
  let open = true;
  const dispose = (): void => {
    if (open) closeSync(device);
    open = false;
  };
  const keep = (): void => {
    const info = new Uint8Array(INFO_SIZE);
    check(native.ioctl(device, LOOP_GET_STATUS64, info), "ioctl", path);
    const view = new DataView(info.buffer);
    view.setUint32(FLAGS_OFFSET, view.getUint32(FLAGS_OFFSET, true) & ~LO_FLAGS_AUTOCLEAR, true);
    check(native.ioctl(device, LOOP_SET_STATUS64, info), "ioctl", path);
  };
  return { path, keep, [Symbol.dispose]: dispose };
}

/** This says whether a device is attached under a name; what else goes by its number since is none of the caller's. */
export function isLoopDeviceAttached(path: string, name: string): boolean {
  return withAttached(path, name, () => {});
}

/**
 * This detaches a device that was attached under a name and kept: at once, or when its last user goes.
 * `false` where the device is not attached, or under another name.
 */
export function detachLoopDevice(path: string, name: string): boolean {
  return withAttached(path, name, (device) => {
    check(native.ioctlNumber(device, LOOP_CLR_FD, 0), "ioctl", path);
  });
}

function withAttached(path: string, name: string, act: (device: number) => void): boolean {
  using stack = new DisposableStack();
  let device: number;
  try {
    device = stack.adopt(openSync(path, constants.O_RDONLY), closeSync);
  } catch (error) {
    if (error instanceof Error && "errno" in error && (error.errno === -ENXIO || error.errno === -ENOENT)) return false;
    throw error;
  }
  const info = new Uint8Array(INFO_SIZE);
  if (native.ioctl(device, LOOP_GET_STATUS64, info) === -1) {
    const errno = lastErrno();
    if (errno === ENXIO) return false;
    throw systemError(errno, "ioctl", path);
  }
  const found = info.subarray(NAME_OFFSET, NAME_OFFSET + NAME_SIZE);
  const wanted = encodeName(name);
  if (Buffer.compare(found.subarray(0, wanted.length + 1), Buffer.concat([wanted, Uint8Array.of(0)])) !== 0)
    return false;
  act(device);
  return true;
}
