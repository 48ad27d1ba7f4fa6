import type { TransferProgress } from "@berth/core/transfer";
import { ingestRef } from "@berth/images";
import type { Descriptor, Digest } from "@berth/oci";

/** A step that names a blob, below what describes it. */
type BlobStep = Pick<TransferProgress, "name" | "parents"> & { readonly descriptor: Descriptor };

/**
 * What is known of the tree of an image, for whoever watches: clients draw it, in which only what was told before has branches.
 */
export class BlobTree {
  readonly #target: Descriptor;
  readonly #image: string;
  readonly #parents = new Map<Digest, Set<string>>();

  constructor(target: Descriptor, image: string) {
    this.#target = target;
    this.#image = image;
  }

  /** This notes what a document describes; blobs of which nothing was noted stand below the whole. */
  readonly add = (parent: Descriptor, children: readonly Descriptor[]): void => {
    for (const { digest } of children) {
      const known = this.#parents.get(digest);
      if (known === undefined) this.#parents.set(digest, new Set([ingestRef(parent)]));
      else known.add(ingestRef(parent));
    }
  };

  /** This names a blob: the whole below the name of the image, all else below what describes it. */
  stepOf(descriptor: Descriptor): BlobStep {
    const { digest } = descriptor;
    const above = digest === this.#target.digest ? [this.#image] : this.#parents.get(digest);
    return { name: ingestRef(descriptor), parents: [...(above ?? [ingestRef(this.#target)])], descriptor };
  }
}

/** This is a step that tells of a whole blob. */
export function wholeBlob(descriptor: Descriptor): Pick<TransferProgress, "progress" | "total"> {
  return { progress: descriptor.size, total: descriptor.size };
}
