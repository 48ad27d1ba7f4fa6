import { join } from "node:path";

/** Names in the directory of a snapshot; the EROFS differ, which writes the first, knows them too. */
export const ErofsFile = {
  /** The layer as an image, or a link to one in a cache. */
  layer: "layer.erofs",
  /** Root hash and parameters of dm-verity for the layer. */
  verity: "layer.erofs.dmverity",
  /** An index of this layer and all below it. */
  merged: "fsmeta.erofs",
  /** Says that this is a snapshot of the EROFS snapshotter, so that the differ may write a layer beside it. */
  marker: ".erofslayer",
  /** The writable layer in block mode; the mount manager makes it. */
  writable: "rwlayer.img",
  /** The writable layer in directory mode. */
  upper: "fs",
  work: "work",
  /** There while the layer of an active snapshot was made from its writable layer, which is still the one that counts. */
  sealing: ".sealing",
} as const;

/** This is the path of a file of a snapshot, in its directory. */
export function erofsPath(directory: string, name: keyof typeof ErofsFile): string {
  return join(directory, ErofsFile[name]);
}
