import { statSync } from "node:fs";

import type { Mount } from "@berth/core/mount";
import { mountTemporary } from "@berth/linux/mount";

import type { LayerPlace } from "./layer-job.ts";
import { inUserNamespace, overlayDirectories } from "./overlay-options.ts";

/** A place to apply a layer to; disposing it takes a temporary mount away. */
export interface LayerTarget extends AsyncDisposable {
  readonly place: LayerPlace;
  /** The place is in a mount that is taken away afterwards: nobody else may hold it. */
  readonly isTemporary: boolean;
  /** That mount may be all that there is of its file system, so that nobody is told afterwards what its disk failed to write. */
  readonly isLastLook: boolean;
}

export interface LayerTargetOptions {
  readonly temporaryDirectory: string | undefined;
  readonly signal: AbortSignal | undefined;
  /** The mounts given are in others that are taken away after the layer. */
  readonly areTemporary: boolean;
}

/**
 * This finds out where the files of a layer go. A single overlay with an upper directory is written to below the overlay,
 * and a single writable bind at its source; anything else is mounted at a temporary place until disposed.
 *
 * @see containerd core/diff/apply/apply_linux.go, apply
 */
export async function openLayerTarget(mounts: readonly Mount[], options: LayerTargetOptions): Promise<LayerTarget> {
  const place = directPlace(mounts);
  const { areTemporary, signal, temporaryDirectory } = options;
  if (place !== undefined)
    return { place, isTemporary: areTemporary, isLastLook: areTemporary, [Symbol.asyncDispose]: async () => {} };
  const mounted = await mountTemporary(mounts, {
    ...(temporaryDirectory === undefined ? {} : { directory: temporaryDirectory }),
    ...(signal === undefined ? {} : { signal }),
  });
  const isBind = mounts.at(-1)?.options.some((option) => option === "bind" || option === "rbind") === true;
  const isLastLook = areTemporary || !isBind;
  return {
    place: naive(mounted.path),
    isTemporary: true,
    isLastLook,
    [Symbol.asyncDispose]: () => mounted[Symbol.asyncDispose](),
  };
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
  return { root, whiteouts: "naive", userXattr: false, lowers: [], hasAllLayers: true };
}

function overlayPlace(options: readonly string[]): LayerPlace | undefined {
  const { upper, lowers } = overlayDirectories(options);
  // In a user namespace neither the devices nor the attributes of overlayfs can be made by hand.
  if (upper === undefined || inUserNamespace()) return undefined;
  return {
    root: upper,
    whiteouts: "overlay",
    userXattr: options.includes("userxattr"),
    lowers,
    hasAllLayers: lowers.length > 0,
  };
}
