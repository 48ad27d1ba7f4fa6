import { closeSync, openSync, readSync } from "node:fs";

import { invalidArgument } from "@berth/errors";

import { O_PATH } from "../files/at-calls.ts";
import { check, lastErrno, SYS } from "../libc.ts";
import { systemError } from "../system-error.ts";
import { attach, native } from "./mount-calls.ts";
import {
  type LinuxMount,
  MS_NOATIME,
  MS_NODEV,
  MS_NODIRATIME,
  MS_NOEXEC,
  MS_NOSUID,
  MS_RDONLY,
  MS_STRICTATIME,
  parseMountOptions,
} from "./mount-options.ts";

const FSOPEN_CLOEXEC = 1;
const FSMOUNT_CLOEXEC = 1;
const FSCONFIG_VALUE_LIMIT = 255;
const SET_FLAG = 0;
const SET_STRING = 1;
const CMD_CREATE = 6;

/** MS_* → MOUNT_ATTR_*. */
const ATTRIBUTES: readonly (readonly [flag: number, attribute: number])[] = [
  [MS_RDONLY, 0x1],
  [MS_NOSUID, 0x2],
  [MS_NODEV, 0x4],
  [MS_NOEXEC, 0x8],
  [MS_NOATIME, 0x10],
  [MS_STRICTATIME, 0x20],
  [MS_NODIRATIME, 0x80],
];

/** This returns the MOUNT_ATTR_* bits of MS_* bits. */
export function mountAttributes(flags: number): number {
  return ATTRIBUTES.reduce((bits, [flag, attribute]) => (flags & flag ? bits | attribute : bits), 0);
}

/** A file system being put together by the mount API of Linux 5.2; disposing it lets go of what was not attached. */
export class FileSystemContext implements Disposable {
  readonly #type: string;
  readonly #descriptor: number;
  readonly #resources = new DisposableStack();

  /** @throws ENOSYS - the kernel has no such calls; ENODEV - it has no such file system */
  constructor(type: string) {
    this.#type = type;
    const descriptor = check(native.fsopen(SYS.fsopen, type, FSOPEN_CLOEXEC), "fsopen", type);
    this.#descriptor = this.#resources.adopt(descriptor, closeSync);
  }

  /** This sets an option to a text, or as a flag where there is none; what the kernel says in words is in the error. */
  set(key: string, value?: string): void {
    const command = value === undefined ? SET_FLAG : SET_STRING;
    if (native.fsconfig(SYS.fsconfig, this.#descriptor, command, key, value ?? null, 0) !== -1) return;
    throw this.#explain(systemError(lastErrno(), "fsconfig", `${key}=${value ?? ""}`));
  }

  /** This says whether an option can be set; the context is of no other use afterwards. */
  accepts(key: string, value: string): boolean {
    return native.fsconfig(SYS.fsconfig, this.#descriptor, SET_STRING, key, value, 0) !== -1;
  }

  /** This names a file for {@link set}: a value ends at 255 bytes, a longer path goes by a descriptor. */
  shortPath(path: string): string {
    if (new TextEncoder().encode(path).length <= FSCONFIG_VALUE_LIMIT) return path;
    return `/proc/self/fd/${this.#resources.adopt(openSync(path, O_PATH), closeSync)}`;
  }

  /** This makes the file system and attaches it at a path, in libuv's pool. */
  async attach(target: string, flags: number): Promise<void> {
    const made = await native.fsconfig.async(SYS.fsconfig, this.#descriptor, CMD_CREATE, null, null, 0);
    if (made.result === -1) throw this.#explain(systemError(made.errno, "fsconfig", this.#type));
    const mount = native.fsmount(SYS.fsmount, this.#descriptor, FSMOUNT_CLOEXEC, mountAttributes(flags));
    await attach(this.#resources.adopt(check(mount, "fsmount", target), closeSync), target);
  }

  [Symbol.dispose](): void {
    this.#resources.dispose();
  }

  #explain(error: Error): Error {
    const log = this.#readLog();
    return log === "" ? error : Object.assign(error, { message: `${error.message}: ${log}` });
  }

  /** The kernel says in words why it refused, one message per read. */
  #readLog(): string {
    const messages: string[] = [];
    const buffer = new Uint8Array(1024);
    try {
      for (let length = readSync(this.#descriptor, buffer); length > 0; length = readSync(this.#descriptor, buffer)) {
        const text = new TextDecoder().decode(buffer.subarray(0, length));
        messages.push(text.replace(/^[ewi] /, "").trim());
      }
    } catch {
      // ENODATA: no further message
    }
    return messages.join("; ");
  }
}

/**
 * This mounts a file system by the mount API of Linux 5.2, which takes plain files as sources where the file system does;
 * `loop` among the options has no effect.
 *
 * @throws ENOTBLK - the source must be a block device
 * @throws ENOSYS - the kernel has no such calls
 * @throws invalid_argument - an option may not reach the kernel, or maps ids
 */
export async function mountByContext(mount: LinuxMount, target: string): Promise<void> {
  const { flags, data, uidMap } = parseMountOptions(mount.options);
  if (uidMap !== undefined) throw invalidArgument(`mount ${target}: ids cannot be mapped here`);
  using context = new FileSystemContext(mount.type);
  context.set("source", context.shortPath(mount.source));
  if (flags & MS_RDONLY) context.set("ro");
  for (const option of data) {
    const at = option.indexOf("=");
    if (at === -1) context.set(option);
    else context.set(option.slice(0, at), longValue(context, option.slice(at + 1)));
  }
  await context.attach(target, flags);
}

function longValue(context: FileSystemContext, value: string): string {
  return value.startsWith("/") ? context.shortPath(value) : value;
}
