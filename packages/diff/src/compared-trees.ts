import { readFileSync } from "node:fs";

import type { CallOptions } from "@berth/core/any";
import type { Mount } from "@berth/core/mount";
import { systemErrorCode } from "@berth/errors";
import { mountTemporary } from "@berth/linux/mount";

import { escapeLower, inUserNamespace, overlayDirectories } from "./overlay-options.ts";
import type { Trees } from "./walk-changes.ts";

/** Two trees that can be walked until this is disposed. */
export interface ComparedTrees extends AsyncDisposable {
  readonly trees: Trees;
}

export interface ComparedTreesOptions extends CallOptions {
  readonly temporaryDirectory: string | undefined;
}

/**
 * This mounts two lists at temporary places, read-only: comparing changes nothing, also in a snapshot that is in use. Where the
 * upper one is an overlay over just what the lower one is, its upper directory says where to look.
 */
export async function openComparedTrees(
  lower: readonly Mount[],
  upper: readonly Mount[],
  { temporaryDirectory, signal }: ComparedTreesOptions,
): Promise<ComparedTrees> {
  await using undo = new AsyncDisposableStack();
  const options = {
    ...(temporaryDirectory === undefined ? {} : { directory: temporaryDirectory }),
    ...(signal === undefined ? {} : { signal }),
  };
  const below = undo.use(await mountTemporary(lower.map(readonlyMount), options));
  const above = undo.use(await mountTemporary(upper.map(readonlyMount), options));
  const mounted = undo.move();
  return {
    trees: { lower: below.path, upper: above.path, top: topDirectory(lower, upper) },
    [Symbol.asyncDispose]: () => mounted.disposeAsync(),
  };
}

/** @see containerd core/mount/mount.go, readonlyMounts */
function readonlyMount(mount: Mount): Mount {
  if (mount.type !== "overlay") {
    return { ...mount, options: [...mount.options.filter((option) => option !== "rw" && option !== "ro"), "ro"] };
  }
  const { upper, lowers } = overlayDirectories(mount.options);
  if (upper === undefined) return mount;
  if (lowers.length === 0) return { type: "bind", source: upper, target: mount.target, options: ["rbind", "ro"] };
  const kept = mount.options.filter((option) => !/^(?:upperdir|workdir|lowerdir)=/.test(option));
  const lowerdir = [upper, ...lowers].map(escapeLower).join(":");
  return { ...mount, options: [...kept, `lowerdir=${lowerdir}`] };
}

/** The topmost layer of the upper list, where the rest of it is all that the lower list has. */
function topDirectory(lower: readonly Mount[], upper: readonly Mount[]): string | undefined {
  if (inUserNamespace()) return undefined;
  const [top, ...rest] = layersOf(upper) ?? [];
  const below = layersOf(lower);
  if (top === undefined || below === undefined || below.length === 0 || below.length !== rest.length) return undefined;
  return below.every((layer, index) => layer === rest[index]) ? top : undefined;
}

function layersOf(mounts: readonly Mount[]): readonly string[] | undefined {
  const [mount, ...others] = mounts;
  if (mount === undefined || others.length > 0 || mount.target !== "") return undefined;
  const { type, source, options } = mount;
  // With an index a file changes under all its names, of which the upper directory has only one.
  if (type === "overlay" && !hasIndex(options)) {
    const { upper, lowers } = overlayDirectories(options);
    return upper === undefined ? lowers : [upper, ...lowers];
  }
  const plain = options.every((option) => ["bind", "rbind", "rw", "ro"].includes(option));
  return plain && (type === "bind" || options.some((option) => option.endsWith("bind"))) ? [source] : undefined;
}

function hasIndex(options: readonly string[]): boolean {
  if (options.includes("index=off")) return false;
  return options.includes("index=on") || indexByDefault();
}

function indexByDefault(): boolean {
  try {
    return readFileSync("/sys/module/overlay/parameters/index", "utf8").trim() !== "N";
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return false;
    throw error;
  }
}
