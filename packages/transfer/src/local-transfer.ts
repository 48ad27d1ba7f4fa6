import { KeyedLock } from "@berth/core/keyed-lock";
import type { Namespace } from "@berth/core/namespaces";
import type {
  ArchiveChoice,
  ImageTransfers,
  ImportChoice,
  RegistryImage,
  StoredImages,
  TransferOptions,
} from "@berth/core/transfer";
import { exportArchive } from "@berth/images";
import { hostPlatform } from "@berth/oci";
import { PART_MEMORY_BYTES, PartMemory } from "@berth/remotes/part-memory";

import { Followers } from "./followers.ts";
import { importImages } from "./import-images.ts";
import { matchPlatforms } from "./match-platforms.ts";
import { findImages, findOne, namesOf, storeImages } from "./name-images.ts";
import type { SharedByPulls } from "./pull-image.ts";
import { pullImage } from "./pull-image.ts";
import { pushImage } from "./push-image.ts";
import type { LocalTransferOptions } from "./transfer-options.ts";
import { withLease } from "./with-lease.ts";

/**
 * Transfers images within this process.
 *
 * @see containerd core/transfer/local/transfer.go
 */
export class LocalTransfer implements ImageTransfers {
  readonly #options: LocalTransferOptions;
  readonly #shared: SharedByPulls;

  constructor(options: LocalTransferOptions) {
    this.#options = options;
    this.#shared = {
      downloads: new KeyedLock(),
      followers: new Followers(options.followedDownloads ?? 1),
      partMemory: new PartMemory(PART_MEMORY_BYTES),
    };
  }

  async pull(
    namespace: Namespace,
    from: RegistryImage,
    to: StoredImages,
    options: TransferOptions = {},
  ): Promise<void> {
    await withLease(this.#options.metadata, namespace, options, (leased) =>
      pullImage({ from, to, leased }, this.#options, this.#shared, options),
    );
  }

  async push(
    namespace: Namespace,
    from: StoredImages,
    to: RegistryImage,
    options: TransferOptions = {},
  ): Promise<void> {
    await withLease(this.#options.metadata, namespace, options, (leased) =>
      pushImage(leased, from, to, this.#options, options),
    );
  }

  async importArchive(
    namespace: Namespace,
    archive: AsyncIterable<Uint8Array>,
    to: StoredImages,
    options: TransferOptions & ImportChoice = {},
  ): Promise<void> {
    await withLease(this.#options.metadata, namespace, options, (leased) =>
      importImages(archive, { to, leased }, this.#options, this.#shared, options),
    );
  }

  async *exportArchive(
    namespace: Namespace,
    from: StoredImages,
    choice: ArchiveChoice,
    { signal, onProgress }: TransferOptions = {},
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const { content, images } = this.#options.metadata.namespace(namespace);
    const { skipDockerManifest, skipNonDistributable, allPlatforms } = choice;
    onProgress?.({ event: "Exporting", name: "" });
    const platforms = choice.platforms.length > 0 ? choice.platforms : [hostPlatform()];
    yield* exportArchive(await findImages(images, from, { signal }), {
      content,
      signal,
      skipDockerManifest,
      skipNonDistributable,
      ...(!allPlatforms && { platform: matchPlatforms(platforms) }),
    });
    onProgress?.({ event: "Completed export", name: "" });
  }

  async tag(namespace: Namespace, from: StoredImages, to: StoredImages, options: TransferOptions = {}): Promise<void> {
    const { images } = this.#options.metadata.namespace(namespace, { lease: options.lease });
    const { target } = await findOne(images, from, options);
    await storeImages(images, namesOf(target, to), options);
  }
}
