import { closeSync, constants, openSync } from "node:fs";
import { stat } from "node:fs/promises";
import { dirname } from "node:path";

import { invalidArgument } from "@berth/errors";

import { FileSystemContext } from "./file-system-context.ts";
import { callMount } from "./mount-calls.ts";
import { MS_RDONLY, type ParsedOptions } from "./mount-options.ts";

const PAGE_SIZE = 4096;
/** mount(2) takes one page; containerd leaves this much of it free and so do we. */
export const DATA_LIMIT = PAGE_SIZE - 512;
const ENOSYS = 38;
const EOPNOTSUPP = 95;
const O_PATH = 0o10000000;

/** This splits `lowerdir` at its colons; overlay reads `\:` as a colon of a name. */
export function splitLowerDirectories(value: string): string[] {
  const parts = value.match(/(?:\\.|[^:\\]|\\$)+/gs) ?? [];
  return parts.map((part) => part.replaceAll(/\\(.)/gs, "$1"));
}

/** This mounts an overlay whatever the length of its options. */
export async function mountOverlay(source: string, target: string, options: ParsedOptions): Promise<void> {
  const data = options.data.join(",");
  // short ones go through mount(2), so that /proc/mounts shows `lowerdir=a:b` as every tool expects
  if (data.length <= DATA_LIMIT) {
    await callMount(source, target, "overlay", options.flags, data);
    return;
  }
  if (await mountLayerByLayer(source, target, options)) return;
  await mountShortened(source, target, options);
}

function setOption(context: FileSystemContext, option: string): void {
  const at = option.indexOf("=");
  if (at === -1) {
    context.set(option);
    return;
  }
  const key = option.slice(0, at);
  const value = option.slice(at + 1);
  if (key === "lowerdir") {
    for (const lower of splitLowerDirectories(value)) context.set("lowerdir+", context.shortPath(lower));
  } else context.set(key, key === "upperdir" || key === "workdir" ? context.shortPath(value) : value);
}

function takesLayers(): boolean {
  try {
    using probe = new FileSystemContext("overlay");
    return probe.accepts("lowerdir+", "/");
  } catch (error) {
    if (errnoIs(error, ENOSYS) || errnoIs(error, EOPNOTSUPP)) return false;
    throw error;
  }
}

function errnoIs(error: unknown, errno: number): boolean {
  return error instanceof Error && "errno" in error && error.errno === -errno;
}

/** `false` where the kernel does not take layers one by one (before 6.8), or where data-only layers (`::`) are asked for. */
async function mountLayerByLayer(source: string, target: string, options: ParsedOptions): Promise<boolean> {
  if (options.data.some((option) => option.startsWith("lowerdir=") && option.includes("::"))) return false;
  if (!takesLayers()) return false;
  await lookUpPaths(options.data);
  using context = new FileSystemContext("overlay");
  context.set("source", source);
  if (options.flags & MS_RDONLY) context.set("ro");
  for (const option of options.data) setOption(context, option);
  await context.attach(target, options.flags);
  return true;
}

/** The kernel looks each path up as it is named to it, on this thread: what may be on a disk only is read in libuv's pool before. */
async function lookUpPaths(data: readonly string[]): Promise<void> {
  const values = data.flatMap((option) => /^(?:lower|upper|work)dir=(.*)$/s.exec(option)?.[1] ?? []);
  // What is not there is for the kernel to say.
  await Promise.allSettled(values.flatMap(splitLowerDirectories).map((path) => stat(path)));
}

/**
 * Before kernel 6.8 the options must fit a page: the common directory of the layers is named by a descriptor instead.
 * containerd changes its working directory for this, which a process with threads should not.
 */
export async function mountShortened(source: string, target: string, options: ParsedOptions): Promise<void> {
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
  await callMount(source, target, "overlay", options.flags, data);
}

/** This returns the deepest directory that holds all paths. */
export function commonDirectory(paths: readonly string[]): string {
  let common = dirname(paths[0] ?? "/");
  while (common !== "/" && common !== "." && !paths.every((path) => path.startsWith(`${common}/`))) {
    common = dirname(common);
  }
  return common;
}
