import { ignoreNotFound } from "@berth/errors";
import { resolveImage } from "@berth/images";
import { hostPlatform, only } from "@berth/oci";
import type { Snapshotter, SnapshotUsage } from "@berth/core/snapshots";

import { requireArgument } from "../cli/arguments.ts";
import { defineCommand } from "../cli/command.ts";
import { chooseSnapshotter } from "../cli/namespace-defaults.ts";
import { snapshotterFlag } from "../cli/shared-flags.ts";
import { formatFlag, printListing } from "../output/listing.ts";
import { formatBinarySize } from "../output/size.ts";
import { NARROW } from "../output/table.ts";

export const usage = defineCommand({
  usage: "<ref>",
  description: "Shows what each unpacked layer takes, the topmost first. Layers that are not unpacked are left out.",
  flags: { snapshotter: snapshotterFlag, format: formatFlag },
  async run({ flags, args, session }) {
    const name = requireArgument(args, 0, "no image given");
    const client = await session.client();
    const { signal } = session;
    const { target } = await client.images.get(name, { signal });
    const { chainIds } = await resolveImage(client.content, target, only(hostPlatform()), { signal });
    const snapshotter = client.snapshotter(await chooseSnapshotter(client, flags.snapshotter, signal));
    await printListing(usagesOf(snapshotter, chainIds.toReversed(), signal), flags, {
      style: NARROW,
      header: ["KEY", "SIZE", "INODES", ""],
      row: ({ key, size, inodes }) => [key, formatBinarySize(size), String(inodes), ""],
      json: ({ key, size, inodes }) => ({ key, size: String(size), inodes: String(inodes) }),
    });
  },
});

async function* usagesOf(
  snapshotter: Snapshotter,
  keys: readonly string[],
  signal: AbortSignal,
): AsyncGenerator<SnapshotUsage & { readonly key: string }, void> {
  for (const key of keys) {
    const usage = await snapshotter.usage(key, { signal }).catch(ignoreNotFound);
    if (usage !== undefined) yield { key, ...usage };
  }
}
