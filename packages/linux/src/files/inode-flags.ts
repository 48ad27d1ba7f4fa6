import { closeSync, constants, openSync } from "node:fs";

import { bind, check } from "../libc.ts";

const native = { ioctl: bind<[number, number, Int32Array], number>("ioctl", "int", ["int", "ulong", "void *"]) };

const FS_IOC_GETFLAGS = 0x80086601;
const FS_IOC_SETFLAGS = 0x40086602;
const FS_IMMUTABLE_FL = 0x10;

/**
 * This makes a file unchangeable (`chattr +i`), for its owner and for root too, or changeable again. A link is not followed.
 *
 * @throws ENOTTY, EOPNOTSUPP - the file system has no such flag
 * @throws EPERM - CAP_LINUX_IMMUTABLE is missing
 * @throws ELOOP - the path is a link
 */
export function setImmutable(path: string, immutable: boolean): void {
  const descriptor = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const flags = new Int32Array(2);
    check(native.ioctl(descriptor, FS_IOC_GETFLAGS, flags), "ioctl", path);
    const before = flags[0] ?? 0;
    flags[0] = immutable ? before | FS_IMMUTABLE_FL : before & ~FS_IMMUTABLE_FL;
    if (flags[0] !== before) check(native.ioctl(descriptor, FS_IOC_SETFLAGS, flags), "ioctl", path);
  } finally {
    closeSync(descriptor);
  }
}
