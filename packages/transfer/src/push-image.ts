import type { RegistryImage, StoredImages, TransferOptions } from "@berth/core/transfer";
import { pushImage as pushContents } from "@berth/images";
import { parseReference } from "@berth/oci";

import { BlobTree, wholeBlob } from "./blob-step.ts";
import { matchPlatforms } from "./match-platforms.ts";
import { findOne } from "./name-images.ts";
import type { LocalTransferOptions } from "./transfer-options.ts";
import { openRegistry } from "./transfer-options.ts";
import type { LeasedStores } from "./with-lease.ts";

/** This uploads an image under the tag of the reference; of an index, what is for the platforms, or all of it. */
export async function pushImage(
  { stores }: LeasedStores,
  from: StoredImages,
  to: RegistryImage,
  settings: LocalTransferOptions,
  { signal, onProgress }: TransferOptions,
): Promise<void> {
  const { reference } = to;
  const { content, images } = stores;
  const shown = `OCI Registry (${reference})`;
  const { name, target } = await findOne(images, from, { signal });
  onProgress?.({ event: `Pushing to ${shown}`, name: "" });
  const [tag = ""] = parseReference(reference).object.split("@");
  await using registry = await openRegistry(to.access, settings);
  onProgress?.({ event: "pushing content", name, descriptor: target });
  // It comes last; what it describes has its place below it.
  const tree = new BlobTree(target, name);
  onProgress?.({ ...tree.stepOf(target), event: "waiting", total: target.size });
  await pushContents(target, {
    content,
    signal,
    concurrency: settings.maxUploads ?? 3,
    ...(from.platforms.length > 0 && { platform: matchPlatforms(from.platforms) }),
    push: async (descriptor, sending) => {
      const isTarget = descriptor.digest === target.digest;
      const step = tree.stepOf(descriptor);
      let progress = 0;
      const sent = await registry.push(reference, descriptor, content, {
        ...sending,
        ...(isTarget && tag !== "" && { object: tag }),
        onProgress: (bytes) => {
          progress += bytes;
          onProgress?.({ ...step, event: "uploading", progress, total: descriptor.size });
        },
      });
      const event = sent ? "complete" : "already exists";
      onProgress?.({ ...step, event, ...wholeBlob(descriptor) });
    },
  });
  onProgress?.({ event: "pushed content", name, descriptor: target });
  onProgress?.({ event: `Completed push to ${shown}`, name: "", descriptor: target });
}
