import type { Descriptor } from "@berth/oci";

import type { CallOptions } from "./any.ts";
import type { ListOptions, UpdateOptions } from "./content.ts";
import type { Labels } from "./labels.ts";

/** A name for content. Times are milliseconds since 1970. */
export interface Image {
  readonly name: string;
  readonly labels: Labels;
  readonly target: Descriptor;
  readonly createdAt: number;
  readonly updatedAt: number;
}

/** The part of an image that its writer chooses. */
export type ImageSpec = Pick<Image, "name" | "labels" | "target">;

/** Options of {@link ImageStore.create} and {@link ImageStore.update}. */
export interface ImageWriteOptions extends UpdateOptions {
  /** Stands in for the current time, for reproducible stores; milliseconds since 1970. */
  readonly sourceDateEpoch?: number;
}

/** Options of deletions that may wait for the garbage collector. */
export interface DeleteOptions extends CallOptions {
  /** Wait until what is now unreferenced has been removed. */
  readonly sync?: boolean;
}

/**
 * Images of one namespace, by name.
 *
 * @see containerd core/images/image.go, Store
 */
export interface ImageStore {
  /** @throws not_found */
  get(name: string, options?: CallOptions): Promise<Image>;
  /** This lists in order of the name; filter fields are `name`, `target.digest`, `target.mediatype`, `labels.*`, `annotations.*`. */
  list(options?: ListOptions): AsyncIterable<Image>;
  /** @throws already_exists, invalid_argument - name, digest, size or media type of the target is missing */
  create(image: ImageSpec, options?: ImageWriteOptions): Promise<Image>;
  /**
   * This replaces `target` and labels, or the fields named: `labels`, `labels.<key>`, `annotations`, `annotations.<key>`, `target`.
   *
   * @throws not_found, invalid_argument
   */
  update(image: ImageSpec, options?: ImageWriteOptions): Promise<Image>;
  /** @throws not_found - no such image, or its target is not the one given */
  delete(name: string, options?: DeleteOptions & { readonly target?: Pick<Descriptor, "digest"> }): Promise<void>;
}
