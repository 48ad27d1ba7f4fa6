import type { Client } from "@berth/client";
import type { CallOptions } from "@berth/core/any";
import type { Image } from "@berth/core/images";
import { isAlreadyExists, isNotFound } from "@berth/errors";

import { danglingImages, type PruneFilter, usedImages } from "./image-use.ts";
import type { Inventory } from "./inventory.ts";
import { fixedRoots, type NodeId, reach, referencesOf } from "./reach.ts";

/** Which images go. */
export interface PruneChoice {
  /** All that nobody uses, not only those without a name. */
  readonly all: boolean;
  readonly filter: PruneFilter;
  /** Those that the daemon's own filters match, by name; all when absent. */
  readonly matching?: ReadonlySet<string>;
}

/** This returns the images that a prune removes: those that nobody uses, of those that the flags choose. */
export function imagesToPrune(inventory: Inventory, { all, filter, matching }: PruneChoice): readonly Image[] {
  const used = usedImages(inventory);
  const candidates = all ? inventory.images : danglingImages(inventory.images);
  return candidates.filter(
    (image) => !used.has(image.name) && filter.matches(image) && matching?.has(image.name) !== false,
  );
}

/** This returns what the collector will find unreferenced once these images are gone, and how many bytes that is. */
export function wouldBeFreed(inventory: Inventory, gone: readonly Image[]): number {
  const names = new Set(gone.map(({ name }) => name));
  const kept = inventory.images.filter(({ name }) => !names.has(name)).map(({ name }): NodeId => `image ${name}`);
  const live = reach(referencesOf(inventory), [...fixedRoots(inventory), ...kept]);
  return bytesOf(inventory, (node) => !live.has(node));
}

/** This adds up the blobs and snapshots that `counts` chooses. */
function bytesOf({ blobs, snapshots }: Inventory, counts: (node: NodeId) => boolean): number {
  let bytes = 0;
  for (const { digest, size } of blobs) if (counts(`content ${digest}`)) bytes += size;
  for (const { snapshotter, name, size } of snapshots) if (counts(`snapshot.${snapshotter} ${name}`)) bytes += size;
  return bytes;
}

/**
 * This removes images, waits until what they alone held has been collected, and returns those that went. Until all are decided on a lease holds their content: an image
 * of which a container was made in between is put back, and nothing of it was lost. One that has another target by now stays.
 */
export async function pruneImages(
  client: Client,
  images: readonly Image[],
  options: CallOptions,
): Promise<readonly Image[]> {
  await using lease = await client.lease({ ...options, sync: true });
  const removed: Image[] = [];
  await using undo = new AsyncDisposableStack();
  // Cut short, what was removed is looked at all the same, without the signal.
  undo.defer(async () => void (await putBackUsed(lease.client, removed, {})));
  for (const image of images) {
    await lease.hold({ type: "content", id: image.target.digest }, options);
    options.signal?.throwIfAborted();
    if (await removeOne(lease.client, image, options)) removed.push(image);
  }
  // Not cut short either: the images are gone already.
  const back = await putBackUsed(lease.client, removed, {});
  undo.move();
  return removed.filter(({ name }) => !back.has(name));
}

/** Whether it was removed: an image of the name with another target is not the one that was looked at. */
async function removeOne(client: Client, { name, target }: Image, options: CallOptions): Promise<boolean> {
  try {
    // Old daemons do not compare the target.
    if ((await client.images.get(name, options)).target.digest !== target.digest) return false;
    await client.images.delete(name, { ...options, target });
    return true;
  } catch (error) {
    if (isNotFound(error)) return false;
    throw error;
  }
}

/** This puts back images of which a container has been made since; it returns their names. */
async function putBackUsed(
  client: Client,
  removed: readonly Image[],
  options: CallOptions,
): Promise<ReadonlySet<string>> {
  const names = new Set(await Array.fromAsync(client.containers.list(options), ({ image }) => image));
  const back = removed.filter(({ name }) => names.has(name));
  for (const { name, target, labels } of back) {
    try {
      await client.images.create({ name, target, labels }, options);
    } catch (error) {
      if (!isAlreadyExists(error)) throw error;
    }
  }
  return new Set(back.map(({ name }) => name));
}
