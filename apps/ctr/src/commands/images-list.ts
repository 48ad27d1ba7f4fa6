import { ImageSchema } from "@berth/api/containerd/services/images/v1/images";
import { createContentClient } from "@berth/client/content";
import { createImagesClient, toProtoImage } from "@berth/client/images";
import type { ContentStore } from "@berth/core/content";
import type { Image } from "@berth/core/images";
import { isCanceled, isDeadlineExceeded, isNotFound, isUnavailable, messageOf } from "@berth/errors";
import { imagePlatforms, imageSize } from "@berth/images";
import { formatPlatform, hostPlatform, only } from "@berth/oci";

import { defineCommand } from "../cli/command.ts";
import { complain } from "../output/complain.ts";
import { formatLabels } from "../output/label-list.ts";
import { LISTING_FLAGS, printListing } from "../output/listing.ts";
import { messageJson, timeField } from "../output/message-json.ts";
import { formatBinarySize } from "../output/size.ts";
import { NARROW } from "../output/table.ts";

export const list = defineCommand({
  usage: "[<filter>, ...]",
  description: "Filters choose by name, target.digest, target.mediatype and labels, as in name~=busybox.",
  flags: LISTING_FLAGS,
  async run({ flags, args, session }) {
    const transport = session.transport();
    const { signal } = session;
    const content = createContentClient(transport);
    await printListing(createImagesClient(transport).list({ filters: args, signal }), flags, {
      style: NARROW,
      header: ["REF", "TYPE", "DIGEST", "SIZE", "PLATFORMS", "LABELS", ""],
      row: (image) => rowOf(content, image, signal),
      name: ({ name }) => name,
      json: imageJson,
    });
  },
});

function imageJson(image: Image): Promise<unknown> {
  return messageJson(ImageSchema, {
    ...toProtoImage(image),
    ...timeField("createdAt", image.createdAt),
    ...timeField("updatedAt", image.updatedAt),
  });
}

async function rowOf(content: ContentStore, { name, labels, target }: Image, signal: AbortSignal): Promise<string[]> {
  const problems = new Set<string>();
  const size = await orDash(problems, async () =>
    formatBinarySize(await imageSize(content, target, only(hostPlatform()), { signal })),
  );
  const platforms = await orDash(problems, async () => {
    const found = await Array.fromAsync(imagePlatforms(content, target, { signal }), formatPlatform);
    return found.length === 0 ? "-" : [...new Set(found)].toSorted().join(",");
  });
  for (const problem of problems) complain(`image ${name}: ${problem}`);
  return [name, target.mediaType, target.digest, size, platforms, formatLabels(labels, "-"), ""];
}

/** An image whose blobs are not there, or are not what they should be, is still an image, and not the only one. */
async function orDash(problems: Set<string>, measure: () => Promise<string>): Promise<string> {
  try {
    return await measure();
  } catch (error) {
    if (isUnavailable(error) || isCanceled(error) || isDeadlineExceeded(error)) throw error;
    if (!isNotFound(error)) problems.add(messageOf(error));
    return "-";
  }
}
