import type { Client } from "@berth/client";
import type { CallOptions } from "@berth/core/any";
import type { Container } from "@berth/core/containers";
import { isFailedPrecondition, isNotFound } from "@berth/errors";

import { defineCommand } from "../cli/command.ts";
import { complain } from "../output/complain.ts";
import { describeError } from "../output/describe-error.ts";
import { print } from "../output/print.ts";
import { formatBinarySize } from "../output/size.ts";
import { endOnSignals } from "../process/interrupts.ts";
import { removeContainerAndTask } from "../process/remove-container.ts";
import { idleContainers } from "../usage/idle-containers.ts";
import { parsePruneFilters } from "../usage/image-use.ts";
import { readInventory, type Inventory } from "../usage/inventory.ts";
import { confirm, PRUNE_FLAGS } from "../usage/prune-flags.ts";
import { pruneImages, wouldBeFreed } from "../usage/prune-images.ts";
import { chooseImages } from "./images-prune.ts";

export const prune = defineCommand({
  usage: "",
  description:
    "Removes containers that do not run, then images as `ctr images prune` does, and has all collected that nothing refers to any more.\nNever touched: what runs or is paused, what has been without a task for less than a minute, and what Kubernetes or the restart monitor looks after. Asks first; where there is no terminal to ask on, it removes nothing without --force.",
  examples: ["ctr system prune --dry-run", "ctr system prune --all --filter until=24h -f"],
  flags: PRUNE_FLAGS,
  async run({ flags, session }) {
    using _signals = endOnSignals(session);
    const client = await session.client();
    const { signal } = session;
    const before = await readInventory(client, { signal });
    const containers = await chooseContainers(client, before, flags.filter, { signal });
    const afterwards = without(before, containers);
    const images = await chooseImages(client, afterwards, flags, { signal });
    const bytes = formatBinarySize(wouldBeFreed(afterwards, images));
    if (flags["dry-run"]) {
      printNames(containers, images);
      print(`would free ${bytes}\n`);
      return;
    }
    const count = `${containers.length} containers and ${images.length} images`;
    // Collected it would be anyway.
    const isIdle = containers.length === 0 && images.length === 0;
    if (!isIdle && !flags.force) await confirm(`Remove ${count}, ${bytes}?`, { signal });
    const removed = await removeContainers(client, containers, { signal });
    // A container that could not be removed has its image in use.
    const rest = without(before, removed);
    const chosen = await chooseImages(client, rest, flags, { signal });
    const gone = await pruneImages(client, chosen, { signal });
    printNames(removed, gone);
    print(`freed ${formatBinarySize(wouldBeFreed(rest, gone))}\n`);
  },
});

/** Filters of lists choose among containers too: one that asks for what only images have chooses none. */
async function chooseContainers(
  client: Client,
  inventory: Inventory,
  filters: readonly string[],
  options: CallOptions,
): Promise<readonly Container[]> {
  const filter = parsePruneFilters(filters, Date.now());
  const idle = idleContainers(inventory, filter, Date.now());
  if (filter.daemonFilters.length === 0) return idle;
  const listed = client.containers.list({ ...options, filters: filter.daemonFilters });
  const matching = new Set(await Array.fromAsync(listed, ({ id }) => id));
  return idle.filter(({ id }) => matching.has(id));
}

function without(inventory: Inventory, containers: readonly Container[]): Inventory {
  const gone = new Set(containers);
  const keys = new Set(containers.map(({ snapshotter, snapshotKey }) => `${snapshotter} ${snapshotKey}`));
  return {
    ...inventory,
    containers: inventory.containers.filter((container) => !gone.has(container)),
    // Removed with their containers, not collected; but as free.
    snapshots: inventory.snapshots.map((snapshot) =>
      keys.has(`${snapshot.snapshotter} ${snapshot.name}`) ? { ...snapshot, labels: new Map() } : snapshot,
    ),
  };
}

/** One that runs by now, or that someone else has removed, is passed over. */
async function removeContainers(
  client: Client,
  containers: readonly Container[],
  options: CallOptions,
): Promise<readonly Container[]> {
  const removed: Container[] = [];
  for (const container of containers) {
    try {
      await removeContainerAndTask(client, container.id, { ...options, keepSnapshot: false });
      removed.push(container);
    } catch (error) {
      if (!isNotFound(error) && !isFailedPrecondition(error)) throw error;
      complain(describeError(error));
    }
  }
  return removed;
}

function printNames(containers: readonly Container[], images: readonly { readonly name: string }[]): void {
  for (const { id } of containers) print(`container ${id}\n`);
  for (const { name } of images) print(`image ${name}\n`);
}
