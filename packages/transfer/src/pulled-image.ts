import type { CallOptions } from "@berth/core/any";
import type { ContentStore } from "@berth/core/content";
import type { TransferOptions } from "@berth/core/transfer";
import type { FetchImageOptions } from "@berth/images";
import { discardLayers, findUnpacked, unpack } from "@berth/images";
import type { Descriptor, Digest } from "@berth/oci";
import { isLayerType } from "@berth/oci";

import { ArrivingImages } from "./arriving-images.ts";
import { BlobTree, wholeBlob } from "./blob-step.ts";
import type { Followers } from "./followers.ts";
import type { IncomingBlobs } from "./incoming-blobs.ts";
import type { TransferUnpack } from "./unpack-options.ts";
import { manifestToUnpack } from "./unpack-options.ts";

/** What of a download {@link PulledImage} wants to know. */
type FetchWatcher = Required<
  Pick<FetchImageOptions, "onChildren" | "onLayers" | "needsLayer" | "onWriter" | "onProgress" | "onStored">
>;

/** What {@link PulledImage} works with. */
export interface PulledImageOptions extends Pick<TransferOptions, "onProgress"> {
  /** The image's name in its registry. */
  readonly reference: string;
  readonly content: ContentStore;
  /** Over the same content; where the unpacking reads its layers. */
  readonly incoming: IncomingBlobs;
  readonly unpacks: readonly TransferUnpack[];
  /** Leave layers to the collector once they are unpacked, and do not fetch those of an image that is. */
  readonly discardLayers: boolean;
  readonly followers: Followers;
}

/**
 * Unpacks an image while it is being downloaded, and tells whoever watches the pull of its steps: it watches the download. What is not
 * downloaded, as it is for other platforms, is not unpacked. Disposing stops it and waits.
 */
export class PulledImage implements FetchWatcher, AsyncDisposable {
  readonly #target: Descriptor;
  readonly #content: ContentStore;
  readonly #tree: BlobTree;
  #unpacks: readonly TransferUnpack[];
  readonly #discards: boolean;
  #needsNone = false;
  readonly #arriving: ArrivingImages;
  readonly #tell: TransferOptions["onProgress"];

  constructor(target: Descriptor, { reference, unpacks, discardLayers, onProgress, ...arriving }: PulledImageOptions) {
    this.#target = target;
    this.#content = arriving.content;
    this.#tree = new BlobTree(target, reference);
    this.#unpacks = unpacks;
    this.#discards = discardLayers;
    this.#arriving = new ArrivingImages(arriving);
    this.#tell = onProgress;
  }

  readonly onChildren: FetchWatcher["onChildren"] = (parent, children) => this.#tree.add(parent, children);

  readonly onLayers: FetchWatcher["onLayers"] = async (layers) => {
    for (const layer of layers) this.#tell?.({ ...this.#tree.stepOf(layer), event: "waiting" });
    // What it takes to know the layers is stored by now.
    const fetched = new Set(layers.map(({ digest }) => digest));
    const wanted = await Promise.all(this.#unpacks.map((each) => this.#isToUnpack(each, fetched)));
    this.#unpacks = this.#unpacks.filter((_each, index) => wanted[index]);
    this.#needsNone = this.#discards && (await this.#isUnpacked(fetched));
    this.#arriving.begin([this.#target], this.#unpacks);
  };

  /** What is there of platforms that are not pulled is not unpacked either. */
  async #isToUnpack(unpacking: TransferUnpack, fetched: ReadonlySet<Digest>): Promise<boolean> {
    const manifest = await manifestToUnpack(this.#target, unpacking);
    if (manifest === undefined) return false;
    return manifest.layers.every(({ digest, mediaType }) => fetched.has(digest) || !isLayerType(mediaType));
  }

  /** All that there is to fetch is unpacked, wherever it is to be. */
  async #isUnpacked(fetched: ReadonlySet<Digest>): Promise<boolean> {
    const missing = new Set(fetched);
    for (const unpacking of this.#unpacks) {
      const image = await findUnpacked(this.#target, unpacking);
      if (image === undefined) return false;
      for (const { digest } of image.manifest.layers) missing.delete(digest);
    }
    return missing.size === 0;
  }

  readonly needsLayer: FetchWatcher["needsLayer"] = async (layer) => {
    if (this.#needsNone || (await this.#isThere(layer))) {
      this.#tell?.({ ...this.#tree.stepOf(layer), event: "already exists", ...wholeBlob(layer) });
      return false;
    }
    return true;
  };

  /** Only of snapshotters that bring layers in by themselves it is known before the layer would be fetched. */
  async #isThere({ digest }: Descriptor): Promise<boolean> {
    if (this.#unpacks.length === 0 || this.#unpacks.some(({ remoteName }) => remoteName === undefined)) return false;
    return await this.#arriving.isThere(digest);
  }

  readonly onWriter: FetchWatcher["onWriter"] = (descriptor, writer, offset) => {
    if (!isLayerType(descriptor.mediaType)) return;
    // What an earlier download left, or what comes from elsewhere than the registry, may be dropped at its end, and come again.
    if (offset > 0) return;
    if (descriptor.urls !== undefined && descriptor.urls.length > 0) return;
    this.#arriving.onWriter(descriptor, writer);
  };

  readonly onProgress: FetchWatcher["onProgress"] = (descriptor, progress) => {
    this.#arriving.onProgress(descriptor, progress);
    this.#tell?.({ ...this.#tree.stepOf(descriptor), event: "downloading", progress, total: descriptor.size });
  };

  readonly onStored: FetchWatcher["onStored"] = (descriptor, state) => {
    this.#arriving.onBlob(descriptor.digest);
    const event = state === "exists" ? "already exists" : "complete";
    this.#tell?.({ ...this.#tree.stepOf(descriptor), event, ...wholeBlob(descriptor) });
  };

  /** A layer that is being unpacked fails with `error`: the rest of it does not come. */
  fail(error: unknown): void {
    this.#arriving.fail(error);
  }

  /** This unpacks the rest, when all has come. @throws as `unpack` */
  async finish(options: CallOptions): Promise<void> {
    await this.#arriving.finish();
    // Finds done what was done meanwhile, and tells why the rest cannot be.
    const images = await Array.fromAsync(this.#unpacks, (unpacking) => unpack(this.#target, unpacking));
    if (this.#discards) for (const image of images) await discardLayers(this.#content, image, options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#arriving[Symbol.asyncDispose]();
  }
}
