import type { ContentProvider, ContentWriter } from "@berth/core/content";
import { isNotFound } from "@berth/errors";
import type { ArchiveWatcher, EarlyUnpackOptions, StoredFile } from "@berth/images";
import { EarlyUnpack } from "@berth/images";
import type { Descriptor, Digest } from "@berth/oci";

import type { Followers, PullFollowers } from "./followers.ts";
import type { IncomingBlobs } from "./incoming-blobs.ts";

/** What {@link ArrivingImages} works with. */
export interface ArrivingImagesOptions {
  readonly content: ContentProvider;
  /** Over the same content; where the unpacking reads its layers. */
  readonly incoming: IncomingBlobs;
  readonly followers: Followers;
}

/**
 * Unpacks images while their blobs come, from an archive or a registry: it watches those, and is told of the images when what lists them is
 * there. Each layer begins when its image's manifest and configuration are there, and its own bytes have begun to come. Disposing stops it
 * and waits.
 */
export class ArrivingImages implements ArchiveWatcher, AsyncDisposable {
  readonly #content: ContentProvider;
  readonly #incoming: IncomingBlobs;
  readonly #followed: PullFollowers;
  /** Blobs that are stored, or followed: also those from before the index. */
  readonly #readable = new Set<Digest>();
  readonly #early: EarlyUnpack[] = [];

  constructor({ content, incoming, followers }: ArrivingImagesOptions) {
    this.#content = content;
    this.#incoming = incoming;
    this.#followed = followers.open((digest) => this.#canRead(digest));
  }

  readonly onWriter = (blob: StoredFile, { localPath }: ContentWriter): void => {
    if (localPath === undefined) return;
    this.#incoming.begin(blob, localPath, 0);
    this.#followed.begun(blob.digest);
  };

  readonly onProgress = (blob: StoredFile, offset: number): void => this.#incoming.reached(blob, offset);

  readonly onBlob = (digest: Digest): void => {
    this.#incoming.complete(digest);
    this.#followed.ended(digest);
    this.#canRead(digest);
  };

  /** This begins with images of which at least the descriptors are there. */
  begin(targets: readonly Descriptor[], unpacks: readonly EarlyUnpackOptions[]): void {
    const documents: ContentProvider = { reader: (digest, options) => this.#document(digest, options) };
    for (const unpacking of unpacks) {
      const early = new EarlyUnpack({ entries: targets, documents }, unpacking);
      this.#early.push(early);
      for (const digest of this.#readable) early.stored(digest);
    }
  }

  /** This says whether each unpacking has a layer, with all below it, so that it need not come; see `EarlyUnpack.isThere`. */
  async isThere(digest: Digest): Promise<boolean> {
    for (const early of this.#early) if (!(await early.isThere(digest))) return false;
    return true;
  }

  /** This says that all has come, and waits for the layers whose blobs are there. It never rejects. */
  async finish(): Promise<void> {
    this.#incoming.end();
    for (const early of this.#early) await early.finish();
  }

  /** A layer that is being unpacked fails with `error`: the rest of it does not come. */
  fail(error: unknown): void {
    this.#incoming.fail(error);
  }

  #canRead(digest: Digest): void {
    this.#readable.add(digest);
    for (const early of this.#early) early.stored(digest);
  }

  /** In the store already, or when it has come. */
  async #document(...[digest, options]: Parameters<ContentProvider["reader"]>): ReturnType<ContentProvider["reader"]> {
    try {
      return await this.#content.reader(digest, options);
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
    await this.#incoming.stored(digest, options);
    return await this.#content.reader(digest, options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#followed[Symbol.dispose]();
    await Promise.all(this.#early.map((early) => early[Symbol.asyncDispose]()));
  }
}
