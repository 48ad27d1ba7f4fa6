import { createContentClient } from "@berth/client/content";
import { createImagesClient } from "@berth/client/images";
import type { ContentStore } from "@berth/core/content";
import type { Image } from "@berth/core/images";
import { isNotFound } from "@berth/errors";
import { imagePlatforms, imageSize } from "@berth/images";
import { formatPlatform, hostPlatform, only } from "@berth/oci";

import { defineCommand } from "../cli/command.ts";
import { booleanFlag } from "../cli/flags.ts";
import { formatLabels } from "../output/label-list.ts";
import { print } from "../output/print.ts";
import { formatBinarySize } from "../output/size.ts";
import { formatTable, NARROW } from "../output/table.ts";

export const list = defineCommand({
  usage: "[<filter>, ...]",
  description: "Filters choose by name, target.digest, target.mediatype and labels, as in name~=busybox.",
  flags: { quiet: booleanFlag("print only the names", { aliases: ["q"] }) },
  async run({ flags, args, session }) {
    const transport = session.transport();
    const { signal } = session;
    const images = await Array.fromAsync(createImagesClient(transport).list({ filters: args, signal }));
    if (flags.quiet) {
      for (const { name } of images) print(`${name}\n`);
      return;
    }
    const content = createContentClient(transport);
    const rows = [["REF", "TYPE", "DIGEST", "SIZE", "PLATFORMS", "LABELS", ""]];
    for (const image of images) rows.push(await rowOf(content, image, signal));
    print(formatTable(rows, NARROW));
  },
});

async function rowOf(content: ContentStore, { name, labels, target }: Image, signal: AbortSignal): Promise<string[]> {
  const size = await orDash(async () =>
    formatBinarySize(await imageSize(content, target, only(hostPlatform()), { signal })),
  );
  const platforms = await orDash(async () => {
    const found = await Array.fromAsync(imagePlatforms(content, target, { signal }), formatPlatform);
    return found.length === 0 ? "-" : [...new Set(found)].toSorted().join(",");
  });
  return [name, target.mediaType, target.digest, size, platforms, formatLabels(labels, "-"), ""];
}

/** An image whose blobs are not there is still an image. */
async function orDash(measure: () => Promise<string>): Promise<string> {
  try {
    return await measure();
  } catch (error) {
    if (isNotFound(error)) return "-";
    throw error;
  }
}
