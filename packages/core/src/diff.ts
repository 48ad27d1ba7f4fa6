import type { Descriptor } from "@berth/oci";

import type { AnyValue, CallOptions } from "./any.ts";
import type { Labels } from "./labels.ts";
import type { Mount } from "./mount.ts";

/** Options of {@link Applier.apply}. */
export interface ApplyOptions extends CallOptions {
  /** Values for stream processors, by the id of the processor. */
  readonly payloads?: ReadonlyMap<string, AnyValue>;
  /** Answer only when what was written has reached the disk. The applier's default holds when absent. */
  readonly syncFs?: boolean;
}

/**
 * Annotation of what {@link Applier.apply} returns: so many directories were made by default, since neither the layer describes them nor
 * a layer below that is known. It is there only for a layer that was applied to an overlay without lower directories: if it has a
 * parent, the same layer applied over its parent would give these directories their owner and mode.
 */
export const LAYER_NEEDS_PARENT = "io.berth.layer.needs-parent";

/** On the blob of a layer: the digest of the archive that it unpacks to, its diff id. */
export const UNCOMPRESSED_LABEL = "containerd.io/uncompressed";

/** Unpacks layers. */
export interface Applier {
  /**
   * This unpacks the layer `descriptor` over what `mounts` give and returns the descriptor of the uncompressed tar
   * (its digest is the diff id).
   *
   * Whatever the archive holds, nothing outside the mounts is touched. After a failure the mounts hold a part of the layer.
   *
   * @throws not_found - the blob is not there
   * @throws unimplemented - no processor for the media type; the next applier may know it
   * @throws invalid_argument - the archive is malformed or hostile
   * @throws resource_exhausted - a budget is used up, or the disk
   * @see containerd core/diff/diff.go, Applier
   */
  apply(descriptor: Descriptor, mounts: readonly Mount[], options?: ApplyOptions): Promise<Descriptor>;
}

/** Options of {@link Comparer.compare}. */
export interface CompareOptions extends CallOptions {
  /** Media type of the layer to make; OCI tar+gzip when absent. */
  readonly mediaType?: string;
  /** Ref of the ingest that the layer is written through. */
  readonly ref?: string;
  readonly labels?: Labels;
  /** No time in the layer is later than this; milliseconds since 1970. */
  readonly sourceDateEpoch?: number;
}

/** Makes layers. */
export interface Comparer {
  /** This writes what is different in `upper` to the content store and returns its descriptor. @throws unimplemented */
  compare(lower: readonly Mount[], upper: readonly Mount[], options?: CompareOptions): Promise<Descriptor>;
}
