import { closeSync, constants, openSync } from "node:fs";

import { bind, check, lastErrno } from "../libc.ts";
import { systemError } from "../system-error.ts";

const native = {
  ioctlNumber: bind<[number, number, number], number>("ioctl", "int", ["int", "ulong", "long"]),
  ioctl: bind<[number, number, Uint8Array], number>("ioctl", "int", ["int", "ulong", "void *"]),
};

const LOOP_CONFIGURE = 0x4c0a;
const LOOP_CTL_GET_FREE = 0x4c82;
const LO_FLAGS_READ_ONLY = 1;
const LO_FLAGS_AUTOCLEAR = 4;
const LO_FLAGS_DIRECT_IO = 16;
const CONFIG_SIZE = 304; // struct loop_config: fd, block size, loop_info64 of 232 bytes, 8 reserved words
const FLAGS_OFFSET = 8 + 52;
const NAME_OFFSET = 8 + 56;
const NAME_SIZE = 64;
const EBUSY = 16;
const ATTEMPTS = 100;

/** How a loop device is set up. */
export interface LoopOptions {
  readonly readOnly?: boolean;
  readonly directIo?: boolean;
}

/** A loop device that disappears with its last user: this handle, or a mount. */
export interface LoopDevice extends Disposable {
  readonly path: string;
}

function configuration(backing: number, file: string, options: LoopOptions): Uint8Array {
  const config = new Uint8Array(CONFIG_SIZE);
  const view = new DataView(config.buffer);
  view.setUint32(0, backing, true);
  const readOnly = options.readOnly ? LO_FLAGS_READ_ONLY : 0;
  view.setUint32(FLAGS_OFFSET, LO_FLAGS_AUTOCLEAR | readOnly | (options.directIo ? LO_FLAGS_DIRECT_IO : 0), true);
  config.set(new TextEncoder().encode(file).subarray(0, NAME_SIZE - 1), NAME_OFFSET);
  return config;
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

function handle(path: string, device: number): LoopDevice {
  let open = true;
  const dispose = (): void => {
    if (open) closeSync(device);
    open = false;
  };
  return { path, [Symbol.dispose]: dispose };
}
