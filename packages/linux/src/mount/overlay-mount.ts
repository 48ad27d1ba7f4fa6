import { closeSync, constants, openSync, readSync } from "node:fs";
import { dirname } from "node:path";

import { invalidArgument } from "@berth/errors";

import { check, lastErrno, SYS } from "../libc.ts";
import { systemError } from "../system-error.ts";
import { attach, callMount, native } from "./mount-calls.ts";
import {
  MS_NOATIME,
  MS_NODEV,
  MS_NODIRATIME,
  MS_NOEXEC,
  MS_NOSUID,
  MS_RDONLY,
  MS_STRICTATIME,
  type ParsedOptions,
} from "./mount-options.ts";

const PAGE_SIZE = 4096;
/** mount(2) takes one page; containerd leaves this much of it free and so do we. */
export const DATA_LIMIT = PAGE_SIZE - 512;
const FSCONFIG_VALUE_LIMIT = 255;

const FSOPEN_CLOEXEC = 1;
const FSMOUNT_CLOEXEC = 1;
const SET_FLAG = 0;
const SET_STRING = 1;
const CMD_CREATE = 6;
const ENOSYS = 38;
const EOPNOTSUPP = 95;
const O_PATH = 0o10000000;

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

/** This splits `lowerdir` at its colons; overlay reads `\:` as a colon of a name. */
export function splitLowerDirectories(value: string): string[] {
  const parts = value.match(/(?:\\.|[^:\\]|\\$)+/gs) ?? [];
  return parts.map((part) => part.replaceAll(/\\(.)/gs, "$1"));
}

/** This mounts an overlay whatever the length of its options. */
export function mountOverlay(source: string, target: string, options: ParsedOptions): void {
  const data = options.data.join(",");
  // short ones go through mount(2), so that /proc/mounts shows `lowerdir=a:b` as every tool expects
  if (data.length <= DATA_LIMIT) {
    callMount(source, target, "overlay", options.flags, data);
    return;
  }
  if (mountLayerByLayer(source, target, options)) return;
  mountShortened(source, target, options);
}

function fsconfig(context: number, command: number, key: string | null, value: string | null): void {
  if (native.fsconfig(SYS.fsconfig, context, command, key, value, 0) !== -1) return;
  const error = systemError(lastErrno(), "fsconfig", key === null ? "overlay" : `${key}=${value ?? ""}`);
  const log = readLog(context);
  throw log === "" ? error : Object.assign(error, { message: `${error.message}: ${log}` });
}

/** The kernel says in words why it refused, one message per read. */
function readLog(context: number): string {
  const messages: string[] = [];
  const buffer = new Uint8Array(1024);
  try {
    for (let length = readSync(context, buffer); length > 0; length = readSync(context, buffer)) {
      messages.push(
        new TextDecoder()
          .decode(buffer.subarray(0, length))
          .replace(/^[ewi] /, "")
          .trim(),
      );
    }
  } catch {
    // ENODATA: no further message
  }
  return messages.join("; ");
}

/** A value is limited to 255 bytes: a longer directory goes by its descriptor, which must stay open until the mount exists. */
function shortPath(path: string, stack: DisposableStack): string {
  if (new TextEncoder().encode(path).length <= FSCONFIG_VALUE_LIMIT) return path;
  return `/proc/self/fd/${stack.adopt(openSync(path, O_PATH | constants.O_DIRECTORY), closeSync)}`;
}

function setOption(context: number, option: string, stack: DisposableStack): void {
  const at = option.indexOf("=");
  if (at === -1) {
    fsconfig(context, SET_FLAG, option, null);
    return;
  }
  const key = option.slice(0, at);
  const value = option.slice(at + 1);
  if (key === "lowerdir") {
    for (const lower of splitLowerDirectories(value)) {
      fsconfig(context, SET_STRING, "lowerdir+", shortPath(lower, stack));
    }
  } else if (key === "upperdir" || key === "workdir") fsconfig(context, SET_STRING, key, shortPath(value, stack));
  else fsconfig(context, SET_STRING, key, value);
}

function supportsLayers(context: number): boolean {
  // the key is either known or not; the context is thrown away
  return native.fsconfig(SYS.fsconfig, context, SET_STRING, "lowerdir+", "/", 0) !== -1;
}

function openContext(): number | undefined {
  const context = native.fsopen(SYS.fsopen, "overlay", FSOPEN_CLOEXEC);
  if (context !== -1) return context;
  const errno = lastErrno();
  if (errno === ENOSYS || errno === EOPNOTSUPP) return undefined;
  throw systemError(errno, "fsopen", "overlay");
}

/** `false` where the kernel does not take layers one by one (before 6.8), or where data-only layers (`::`) are asked for. */
function mountLayerByLayer(source: string, target: string, options: ParsedOptions): boolean {
  if (options.data.some((option) => option.startsWith("lowerdir=") && option.includes("::"))) return false;
  const probe = openContext();
  if (probe === undefined) return false;
  const supported = supportsLayers(probe);
  closeSync(probe);
  if (!supported) return false;
  using stack = new DisposableStack();
  const context = stack.adopt(check(native.fsopen(SYS.fsopen, "overlay", FSOPEN_CLOEXEC), "fsopen"), closeSync);
  fsconfig(context, SET_STRING, "source", source);
  if (options.flags & MS_RDONLY) fsconfig(context, SET_FLAG, "ro", null);
  for (const option of options.data) setOption(context, option, stack);
  fsconfig(context, CMD_CREATE, null, null);
  const attributes = mountAttributes(options.flags);
  const mount = check(native.fsmount(SYS.fsmount, context, FSMOUNT_CLOEXEC, attributes), "fsmount", target);
  attach(stack.adopt(mount, closeSync), target);
  return true;
}

/**
 * Before kernel 6.8 the options must fit a page: the common directory of the layers is named by a descriptor instead.
 * containerd changes its working directory for this, which a process with threads should not.
 */
export function mountShortened(source: string, target: string, options: ParsedOptions): void {
  const lower = options.data.find((option) => option.startsWith("lowerdir="))?.slice("lowerdir=".length) ?? "";
  const common = commonDirectory(splitLowerDirectories(lower));
  using stack = new DisposableStack();
  const directory = stack.adopt(openSync(common, O_PATH | constants.O_DIRECTORY), closeSync);
  const prefix = common === "/" ? "/" : `${common}/`;
  const shortened = options.data.map((option) => option.replaceAll(prefix, `/proc/self/fd/${directory}/`));
  const data = shortened.join(",");
  if (data.length >= PAGE_SIZE) {
    throw invalidArgument(`mount ${target}: options of ${data.length} bytes exceed the page that this kernel takes`);
  }
  callMount(source, target, "overlay", options.flags, data);
}

/** This returns the deepest directory that holds all paths. */
export function commonDirectory(paths: readonly string[]): string {
  let common = dirname(paths[0] ?? "/");
  while (common !== "/" && common !== "." && !paths.every((path) => path.startsWith(`${common}/`))) {
    common = dirname(common);
  }
  return common;
}
