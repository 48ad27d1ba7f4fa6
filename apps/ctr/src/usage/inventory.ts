import type { Client } from "@berth/client";
import type { CallOptions } from "@berth/core/any";
import type { Container } from "@berth/core/containers";
import type { ContentInfo, IngestStatus } from "@berth/core/content";
import type { Image } from "@berth/core/images";
import type { Labels } from "@berth/core/labels";
import type { Lease, LeaseResource } from "@berth/core/leases";
import { LeaseLabel } from "@berth/core/leases";
import type { ProcessStatus } from "@berth/core/runtime";
import type { SnapshotInfo, SnapshotUsage } from "@berth/core/snapshots";
import { isNotFound, isUnimplemented } from "@berth/errors";

/** A snapshot with what it takes on the disk, and the snapshotter that has it. */
export interface MeasuredSnapshot extends SnapshotInfo, SnapshotUsage {
  readonly snapshotter: string;
}

/** Everything in a namespace that takes space or refers to what does, as it was when it was looked at. */
export interface Inventory {
  readonly images: readonly Image[];
  readonly containers: readonly Container[];
  /** Of the containers that have a task, by id. */
  readonly tasks: ReadonlyMap<string, ProcessStatus>;
  readonly blobs: readonly ContentInfo[];
  readonly ingests: readonly IngestStatus[];
  readonly snapshots: readonly MeasuredSnapshot[];
  /** Names of the snapshotters that the daemon has. */
  readonly snapshotters: readonly string[];
  /** What leases hold that have not expired. */
  readonly leased: readonly LeaseResource[];
  readonly sandboxLabels: readonly Labels[];
}

/**
 * This looks at a namespace. Images come first, then leases and containers: of an image that is seen here, a pull that is not over or a container that
 * was made of it is seen as well.
 */
export async function readInventory(client: Client, options: CallOptions): Promise<Inventory> {
  const images = await Array.fromAsync(client.images.list(options));
  const leased = await Array.fromAsync(leasedResources(client, options));
  const containers = await Array.fromAsync(client.containers.list(options));
  const snapshotters = await listSnapshotters(client, options);
  return {
    images,
    leased,
    containers,
    snapshotters,
    tasks: new Map(await Array.fromAsync(client.tasks.list(options), ({ id, status }) => [id, status] as const)),
    sandboxLabels: await Array.fromAsync(listSandboxLabels(client, options)),
    blobs: await Array.fromAsync(client.content.list(options)),
    ingests: await Array.fromAsync(client.content.listStatuses(options)),
    snapshots: await Array.fromAsync(listSnapshots(client, snapshotters, options)),
  };
}

/** This lists the snapshotters that work. */
async function listSnapshotters(client: Client, options: CallOptions): Promise<readonly string[]> {
  const plugins = await client.plugins({ ...options, filters: ["type==io.containerd.snapshotter.v1"] });
  return plugins.filter(({ status }) => status === "loaded").map(({ id }) => id);
}

async function* listSnapshots(
  client: Client,
  names: readonly string[],
  options: CallOptions,
): AsyncGenerator<MeasuredSnapshot, void, undefined> {
  for (const name of names) {
    const snapshotter = client.snapshotter(name);
    for await (const info of snapshotter.list(options)) {
      // It may be gone by now.
      const usage = await orWhenGone(snapshotter.usage(info.name, options), { size: 0, inodes: 0 });
      yield { ...info, ...usage, snapshotter: name };
    }
  }
}

async function* leasedResources(client: Client, options: CallOptions): AsyncGenerator<LeaseResource, void, undefined> {
  const now = Date.now();
  for await (const lease of client.leases.list(options)) {
    if (hasExpired(lease, now)) continue;
    yield* await orWhenGone(Array.fromAsync(client.leases.listResources(lease.id, options)), []);
  }
}

/** A time that nobody understands never comes. */
function hasExpired({ labels }: Lease, now: number): boolean {
  return Date.parse(labels.get(LeaseLabel.expire) ?? "") < now;
}

async function* listSandboxLabels(client: Client, options: CallOptions): AsyncGenerator<Labels, void, undefined> {
  try {
    for await (const { labels } of client.sandboxes.list(options)) yield labels;
  } catch (error) {
    // Old daemons know no sandboxes.
    if (!isUnimplemented(error)) throw error;
  }
}

async function orWhenGone<T>(call: Promise<T>, otherwise: T): Promise<T> {
  try {
    return await call;
  } catch (error) {
    if (isNotFound(error)) return otherwise;
    throw error;
  }
}
