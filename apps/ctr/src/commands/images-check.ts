import type { Client } from "@berth/client";
import type { Image } from "@berth/core/images";
import type { Snapshotter } from "@berth/core/snapshots";
import { isNotFound, wrapError } from "@berth/errors";
import { checkImage, isUnpacked } from "@berth/images";
import type { Descriptor } from "@berth/oci";
import { hostPlatform, only } from "@berth/oci";

import { defineCommand } from "../cli/command.ts";
import { booleanFlag } from "../cli/flags.ts";
import { chooseSnapshotter } from "../cli/namespace-defaults.ts";
import { snapshotterFlag } from "../cli/shared-flags.ts";
import { print } from "../output/print.ts";
import { formatBinarySize } from "../output/size.ts";
import { formatTable, NARROW } from "../output/table.ts";

export const check = defineCommand({
  usage: "[<filter>, ...]",
  description: "Looks for everything that the host's platform needs. Filters are those of `ctr images list`.",
  flags: {
    quiet: booleanFlag("print only the names of images that are complete", { aliases: ["q"] }),
    snapshotter: snapshotterFlag,
  },
  async run({ flags, args, session }) {
    const client = await session.client();
    const { signal } = session;
    const snapshotter = client.snapshotter(await chooseSnapshotter(client, flags.snapshotter, signal));
    const rows = [["REF", "TYPE", "DIGEST", "STATUS", "SIZE", "UNPACKED", ""]];
    for await (const image of client.images.list({ filters: args, signal })) {
      const { isComplete, row } = await checkOne(client, snapshotter, image, signal);
      if (flags.quiet && isComplete) print(`${image.name}\n`);
      rows.push(row);
    }
    if (!flags.quiet) print(formatTable(rows, NARROW));
  },
});

async function checkOne(client: Client, snapshotter: Snapshotter, { name, target }: Image, signal: AbortSignal) {
  const platform = only(hostPlatform());
  try {
    const { available, required, present, missing } = await checkImage(client.content, target, platform, { signal });
    const unpacked = available && (await isUnpackedHere());
    const state = missing.length > 0 ? "incomplete" : "complete";
    const [status, size] = available
      ? [`${state} (${present.length}/${required.length})`, `${sizeOf(present)}/${sizeOf(required)}`]
      : [`unavailable (${present.length}/?)`, `${sizeOf(present)}/?`];
    const row = [name, target.mediaType, target.digest, status, size, String(unpacked)];
    return { isComplete: available && missing.length === 0, row };
  } catch (error) {
    throw wrapError(error, `check ${name}`);
  }

  async function isUnpackedHere(): Promise<boolean> {
    try {
      return await isUnpacked(target, { content: client.content, snapshotter, platform, signal });
    } catch (error) {
      // The configuration, which tells the layers, is missing.
      if (isNotFound(error)) return false;
      throw error;
    }
  }
}

function sizeOf(descriptors: readonly Descriptor[]): string {
  return formatBinarySize(descriptors.reduce((sum, { size }) => sum + size, 0));
}
