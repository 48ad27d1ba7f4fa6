import { readFileSync, statSync } from "node:fs";

import type { Mount } from "@berth/core/mount";
import { mountTemporary } from "@berth/linux/mount";

import type { LayerPlace } from "./apply-job.ts";

/** A place to apply a layer to; disposing it takes a temporary mount away. */
export interface LayerTarget extends AsyncDisposable {
  readonly place: LayerPlace;
}

export interface LayerTargetOptions {
  readonly temporaryDirectory: string | undefined;
  readonly signal: AbortSignal | undefined;
}

/**
 * This finds out where the files of a layer go. A single overlay with an upper directory is written to below the overlay,
 * and a single writable bind at its source; anything else is mounted at a temporary place until disposed.
 *
 * @see containerd core/diff/apply/apply_linux.go, apply
 */
export async function openLayerTarget(mounts: readonly Mount[], options: LayerTargetOptions): Promise<LayerTarget> {
  const place = directPlace(mounts);
  if (place !== undefined) return { place, [Symbol.asyncDispose]: async () => {} };
  const { signal, temporaryDirectory } = options;
  const mounted = await mountTemporary(mounts, {
    ...(temporaryDirectory === undefined ? {} : { directory: temporaryDirectory }),
    ...(signal === undefined ? {} : { signal }),
  });
  return { place: naive(mounted.path), [Symbol.asyncDispose]: () => mounted[Symbol.asyncDispose]() };
}

function directPlace(mounts: readonly Mount[]): LayerPlace | undefined {
  const [mount, ...others] = mounts;
  if (mount === undefined || others.length > 0 || mount.target !== "") return undefined;
  if (mount.type === "overlay") return overlayPlace(mount.options);
  // An id-mapped bind shows other owners than its source has.
  const plain = mount.options.every((option) => option === "bind" || option === "rbind" || option === "rw");
  const isBind = mount.type === "bind" || mount.options.includes("bind") || mount.options.includes("rbind");
  if (!isBind || !plain || statSync(mount.source, { throwIfNoEntry: false })?.isDirectory() !== true) return undefined;
  return naive(mount.source);
}

function naive(root: string): LayerPlace {
  return { root, whiteouts: "naive", userXattr: false, lowers: [] };
}

function overlayPlace(options: readonly string[]): LayerPlace | undefined {
  const root = optionValue(options, "upperdir=");
  // In a user namespace neither the devices nor the attributes of overlayfs can be made by hand.
  if (root === undefined || inUserNamespace()) return undefined;
  const lowers = optionValue(options, "lowerdir=");
  return {
    root,
    whiteouts: "overlay",
    userXattr: options.includes("userxattr"),
    lowers: lowers === undefined ? [] : splitLowers(lowers),
  };
}

function optionValue(options: readonly string[], prefix: string): string | undefined {
  return options.find((option) => option.startsWith(prefix))?.slice(prefix.length);
}

/** A colon, and a backslash, that belongs to a name has a backslash before it. */
function splitLowers(value: string): string[] {
  return (value.match(/(?:\\.|[^:\\])+/g) ?? []).map((path) => path.replaceAll(/\\(.)/g, "$1"));
}

let userNamespace: boolean | undefined;

function inUserNamespace(): boolean {
  userNamespace ??= !/^\s*0\s+0\s+4294967295\s*$/.test(readFileSync("/proc/self/uid_map", "utf8"));
  return userNamespace;
}
