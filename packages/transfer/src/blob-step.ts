import type { TransferProgress } from "@berth/core/transfer";
import { ingestRef } from "@berth/images";
import type { Descriptor } from "@berth/oci";

/**
 * This names a blob of an image for whoever watches, below the image's name or what describes it: clients draw a tree, in which only what
 * was told before has branches.
 */
export function blobStep(
  descriptor: Descriptor,
  target: Descriptor,
  image: string,
): Pick<TransferProgress, "name" | "parents"> & { readonly descriptor: Descriptor } {
  const parent = descriptor.digest === target.digest ? image : ingestRef(target);
  return { name: ingestRef(descriptor), parents: [parent], descriptor };
}

/** This is a step that tells of a whole blob. */
export function wholeBlob(descriptor: Descriptor): Pick<TransferProgress, "progress" | "total"> {
  return { progress: descriptor.size, total: descriptor.size };
}
