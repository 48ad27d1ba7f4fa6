import type { ImageSpec } from "@berth/core/images";
import type { StoredImages, TransferOptions } from "@berth/core/transfer";
import { notFound } from "@berth/errors";
import { importArchive, readIndex, unpack } from "@berth/images";

import { matchPlatforms } from "./match-platforms.ts";
import { archivedNamesOf, namesOf, storeImages } from "./name-images.ts";
import type { LocalTransferOptions } from "./transfer-options.ts";
import { unpackOptions } from "./unpack-options.ts";
import type { LeasedStores } from "./with-lease.ts";

/** This imports an archive: its index gets the destination's own name, its images those that they have there. */
export async function importImages(
  archive: AsyncIterable<Uint8Array>,
  to: StoredImages,
  leased: LeasedStores,
  settings: LocalTransferOptions,
  options: TransferOptions,
): Promise<void> {
  const { onProgress, signal } = options;
  const { content, images } = leased.stores;
  const unpacks = unpackOptions(leased, to, settings, options);
  onProgress?.({ event: "Importing", name: "" });
  const { index } = await importArchive(archive, {
    content,
    signal,
    platform: matchPlatforms(to.platforms),
    // Platforms that were asked for are all that the archive need hold.
    skipMissing: to.platforms.length > 0,
  });
  const { manifests } = await readIndex(content, index, { signal });
  const named: readonly ImageSpec[] = [
    ...namesOf(index, to),
    ...manifests.flatMap((manifest) => archivedNamesOf(manifest, to)),
  ];
  if (named.length === 0) throw notFound("nothing in the archive gets a name");
  await storeImages(images, named, options);
  const targets = new Map(named.map(({ target }) => [target.digest, target]));
  for (const unpacking of unpacks) for (const target of targets.values()) await unpack(target, unpacking);
  onProgress?.({ event: "Completed import", name: "" });
}
