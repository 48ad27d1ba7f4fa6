import { randomBytes } from "node:crypto";

import type { CompareOptions } from "@berth/core/diff";
import type { Mount } from "@berth/core/mount";
import type { Snapshotter } from "@berth/core/snapshots";
import { ignoreNotFound } from "@berth/errors";
import type { Descriptor } from "@berth/oci";

import type { Client } from "./client.ts";

/** Options of {@link createDiff}. */
export interface CreateDiffOptions extends CompareOptions {
  /** Name of the snapshotter that has the snapshots. */
  readonly snapshotter: string;
  /** The snapshot to compare with; the parent when absent. */
  readonly lower?: string;
}

/**
 * This makes a layer of what a snapshot has that its parent, or another snapshot, has not, and returns the descriptor of its blob.
 * The snapshot may be in use. Views that this takes are gone afterwards; hold a lease, so that the blob is not.
 *
 * @throws not_found - no such snapshot
 * @throws unimplemented - the daemon makes no layers of that media type
 * @see containerd pkg/rootfs/diff.go, CreateDiff
 */
export async function createDiff(client: Client, key: string, options: CreateDiffOptions): Promise<Descriptor> {
  const { snapshotter: name, lower, ...compare } = options;
  const snapshotter = client.snapshotter(name);
  const below = lower ?? (await snapshotter.stat(key, compare)).parent;
  await using views = new AsyncDisposableStack();
  const lowerMounts = await mountsOf(snapshotter, below, views, compare);
  const upperMounts = await mountsOf(snapshotter, key, views, compare);
  return await client.diff.compare(lowerMounts, upperMounts, compare);
}

/** An active snapshot has mounts of its own; of a committed one, and of none, a view is taken. */
async function mountsOf(
  snapshotter: Snapshotter,
  key: string,
  views: AsyncDisposableStack,
  { signal }: CompareOptions,
): Promise<readonly Mount[]> {
  if (key === "") return [];
  if ((await snapshotter.stat(key, { signal })).kind !== "committed") return snapshotter.mounts(key, { signal });
  const view = `${key}-view-${Date.now()}-${randomBytes(4).toString("hex")}`;
  const mounts = await snapshotter.view(view, key, { signal });
  views.defer(() => removeView(snapshotter, view));
  return mounts;
}

/** Without the caller's signal: what was cancelled leaves no view either. */
async function removeView(snapshotter: Snapshotter, view: string): Promise<void> {
  await snapshotter.remove(view).catch(ignoreNotFound);
}
