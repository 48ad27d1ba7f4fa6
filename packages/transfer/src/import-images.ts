import type { ContentStore } from "@berth/core/content";
import type { ImageSpec } from "@berth/core/images";
import type { ImportChoice, StoredImages, TransferOptions } from "@berth/core/transfer";
import { notFound } from "@berth/errors";
import type { ImportResult } from "@berth/images";
import { importArchive, readIndex, unpack } from "@berth/images";
import type { Descriptor } from "@berth/oci";
import { releaseMessage } from "@berth/rpc";

import { ArrivingImages } from "./arriving-images.ts";
import type { Followers } from "./followers.ts";
import { IncomingBlobs } from "./incoming-blobs.ts";
import { matchPlatforms } from "./match-platforms.ts";
import { archivedNamesOf, namesOf, storeImages } from "./name-images.ts";
import type { LocalTransferOptions } from "./transfer-options.ts";
import type { TransferUnpack } from "./unpack-options.ts";
import { manifestToUnpack, unpackOptions } from "./unpack-options.ts";
import type { LeasedStores } from "./with-lease.ts";

/** An import under its lease. */
export interface ImportRequest {
  readonly to: StoredImages;
  readonly leased: LeasedStores;
}

/**
 * This imports an archive: its index gets the destination's own name, its images those that they have there. Layers that come after what
 * describes them are unpacked while they come; what is committed has been verified.
 */
export async function importImages(
  archive: AsyncIterable<Uint8Array>,
  { to, leased }: ImportRequest,
  settings: LocalTransferOptions,
  { followers }: { readonly followers: Followers },
  options: TransferOptions & ImportChoice,
): Promise<void> {
  const { onProgress } = options;
  const { content, images } = leased.stores;
  const incoming = new IncomingBlobs(content);
  const unpacks = unpackOptions(leased, to, settings, {
    ...options,
    layers: incoming,
    verified: (digest, cancel) => incoming.stored(digest, cancel),
  });
  onProgress?.({ event: "Importing", name: "" });
  await using arriving = new ArrivingImages({ content, incoming, followers });
  const { index } = await readInto(arriving, archive, { to, leased, unpacks }, options);
  const named = await imagesOf(index, to, content, options);
  if (named.length === 0) throw notFound("nothing in the archive gets a name");
  await storeImages(images, named, options);
  await arriving.finish();
  // Finds done what was done meanwhile, and tells why the rest cannot be.
  for (const unpacking of unpacks) {
    for (const target of targetsOf(named))
      if ((await manifestToUnpack(target, unpacking)) !== undefined) await unpack(target, unpacking);
  }
  onProgress?.({ event: "Completed import", name: "" });
}

async function readInto(
  arriving: ArrivingImages,
  archive: AsyncIterable<Uint8Array>,
  { to, leased, unpacks }: ImportRequest & { readonly unpacks: readonly TransferUnpack[] },
  { signal, compressLayers }: TransferOptions & ImportChoice,
): Promise<ImportResult> {
  const { content } = leased.stores;
  const { onWriter, onProgress, onBlob } = arriving;
  try {
    return await importArchive(archive, {
      content,
      signal,
      compressLayers,
      platform: matchPlatforms(to.platforms),
      // Platforms that were asked for are all that the archive need hold.
      skipMissing: to.platforms.length > 0,
      // An archive that a client sends comes in large messages, each of which is its chunk's alone.
      release: releaseMessage,
      onWriter,
      onProgress,
      onBlob,
      onIndex: async (index) => {
        // What is wrong with an index is told when the archive has been read.
        const named = await imagesOf(index, to, content, { signal }).catch(() => []);
        arriving.begin(targetsOf(named), unpacks);
      },
    });
  } catch (error) {
    arriving.fail(error);
    throw error;
  }
}

async function imagesOf(
  index: Descriptor,
  to: StoredImages,
  content: ContentStore,
  { signal }: TransferOptions,
): Promise<readonly ImageSpec[]> {
  const { manifests } = await readIndex(content, index, { signal });
  return [...namesOf(index, to), ...manifests.flatMap((manifest) => archivedNamesOf(manifest, to))];
}

function targetsOf(images: readonly ImageSpec[]): readonly Descriptor[] {
  return [...new Map(images.map(({ target }) => [target.digest, target])).values()];
}
