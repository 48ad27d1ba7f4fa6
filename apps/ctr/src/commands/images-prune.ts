import type { Client } from "@berth/client";
import type { CallOptions } from "@berth/core/any";
import type { Image } from "@berth/core/images";

import { defineCommand } from "../cli/command.ts";
import type { FlagValues } from "../cli/flags.ts";
import { print } from "../output/print.ts";
import { formatBinarySize } from "../output/size.ts";
import { endOnSignals } from "../process/interrupts.ts";
import { parsePruneFilters } from "../usage/image-use.ts";
import type { Inventory } from "../usage/inventory.ts";
import { readInventory } from "../usage/inventory.ts";
import { confirm, PRUNE_FLAGS } from "../usage/prune-flags.ts";
import { imagesToPrune, pruneImages, wouldBeFreed } from "../usage/prune-images.ts";

export const prune = defineCommand({
  usage: "",
  description:
    "Removes images that have no name but their digest, or with --all every image of which there is no container, and waits until what they alone held has been collected.\nNever removed: what a container was made of, running or not; what is being pulled, or otherwise held by a lease; images pinned by Kubernetes. Asks first; where there is no terminal to ask on, it removes nothing without --force.",
  examples: ["ctr images prune --all --dry-run", "ctr images prune --all --filter until=168h -f"],
  flags: PRUNE_FLAGS,
  async run({ flags, session }) {
    using _signals = endOnSignals(session);
    const client = await session.client();
    const { signal } = session;
    const inventory = await readInventory(client, { signal });
    const images = await chooseImages(client, inventory, flags, { signal });
    const bytes = wouldBeFreed(inventory, images);
    if (flags["dry-run"]) {
      for (const { name } of images) print(`${name}\n`);
      print(`would free ${formatBinarySize(bytes)}\n`);
      return;
    }
    if (images.length > 0 && !flags.force) {
      await confirm(`Remove ${images.length} images, ${formatBinarySize(bytes)}?`, { signal });
    }
    const removed = await pruneImages(client, images, { signal });
    for (const { name } of removed) print(`${name}\n`);
    print(`freed ${formatBinarySize(wouldBeFreed(inventory, removed))}\n`);
  },
});

/** This returns what the flags have a prune remove. */
export async function chooseImages(
  client: Client,
  inventory: Inventory,
  flags: Pick<FlagValues<typeof PRUNE_FLAGS>, "all" | "filter">,
  options: CallOptions,
): Promise<readonly Image[]> {
  const filter = parsePruneFilters(flags.filter, Date.now());
  const { daemonFilters: filters } = filter;
  const matching =
    filters.length === 0
      ? undefined
      : new Set(await Array.fromAsync(client.images.list({ ...options, filters }), ({ name }) => name));
  return imagesToPrune(inventory, { all: flags.all, filter, ...(matching && { matching }) });
}
