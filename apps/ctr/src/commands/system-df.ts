import type { Container } from "@berth/core/containers";

import { defineCommand } from "../cli/command.ts";
import type { Listing } from "../output/listing.ts";
import { formatFlag, printListing } from "../output/listing.ts";
import { formatBinarySize } from "../output/size.ts";
import { NARROW } from "../output/table.ts";
import { usedImages } from "../usage/image-use.ts";
import type { Inventory } from "../usage/inventory.ts";
import { readInventory } from "../usage/inventory.ts";
import type { NodeId } from "../usage/reach.ts";
import { fixedRoots, reach, referencesOf } from "../usage/reach.ts";

interface UsageRow {
  readonly type: string;
  readonly total: number;
  readonly active: number;
  readonly bytes: number;
  readonly reclaimableBytes: number;
}

const LISTING: Listing<UsageRow> = {
  style: { ...NARROW, padding: 3 },
  header: ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE", ""],
  row: ({ type, total, active, bytes, reclaimableBytes }) => [
    type,
    String(total),
    String(active),
    formatBinarySize(bytes),
    formatBinarySize(reclaimableBytes),
    "",
  ],
  json: ({ type, total, active, bytes, reclaimableBytes }) => ({
    type,
    total,
    active,
    size: String(bytes),
    reclaimable: String(reclaimableBytes),
  }),
};

export const df = defineCommand({
  usage: "",
  description:
    "Shows what takes how much of the disk in this namespace, and how much of it a prune would free. Images: their content, once however many share it; active are those in use.\nContainers: their writable layers; active are those that run. Content and snapshots: all there are, images included; active are those that something in use refers to.\nWhat several namespaces share is counted in each.",
  flags: { format: formatFlag },
  async run({ flags, session }) {
    const client = await session.client();
    await printListing(rowsOf(await readInventory(client, { signal: session.signal })), flags, LISTING);
  },
});

interface Sized {
  readonly node: NodeId;
  readonly size: number;
}

function rowsOf(inventory: Inventory): readonly UsageRow[] {
  const { images, ingests, snapshotters } = inventory;
  const references = referencesOf(inventory);
  const imageNode = ({ name }: { readonly name: string }): NodeId => `image ${name}`;
  const used = usedImages(inventory);
  const live = reach(references, [...fixedRoots(inventory), ...[...used].map((name): NodeId => `image ${name}`)]);
  const ofImages = reach(references, images.map(imageNode));
  const blobs = inventory.blobs.map(({ digest, size }): Sized => ({ node: `content ${digest}`, size }));
  const inUse = ({ node }: Sized): boolean => live.has(node);
  const imageBlobs = blobs.filter(({ node }) => ofImages.has(node));
  return [
    { ...rowOf("Images", imageBlobs, inUse), total: images.length, active: used.size },
    containersRow(inventory),
    rowOf("Content", blobs, inUse),
    {
      type: "Ingests",
      total: ingests.length,
      active: ingests.length,
      bytes: ingests.reduce((sum, { offset }) => sum + offset, 0),
      reclaimableBytes: 0,
    },
    ...snapshotters.map((name) => {
      const own = inventory.snapshots.filter(({ snapshotter }) => snapshotter === name);
      const sized = own.map((info): Sized => ({ node: `snapshot.${name} ${info.name}`, size: info.size }));
      return rowOf(`Snapshots (${name})`, sized, inUse);
    }),
  ];
}

function rowOf(type: string, things: readonly Sized[], inUse: (thing: Sized) => boolean): UsageRow {
  const idle = things.filter((thing) => !inUse(thing));
  const total = things.length;
  return { type, total, active: total - idle.length, bytes: sum(things), reclaimableBytes: sum(idle) };
}

function containersRow({ containers, tasks, snapshots }: Inventory): UsageRow {
  const sizes = new Map(snapshots.map(({ snapshotter, name, size }) => [`${snapshotter} ${name}`, size]));
  const sized = containers.map((container) => ({
    node: `snapshot.${container.snapshotter} ${container.snapshotKey}` as const,
    size: sizes.get(`${container.snapshotter} ${container.snapshotKey}`) ?? 0,
    isRunning: isRunning(container),
  }));
  const running = new Set<Sized>(sized.filter((container) => container.isRunning));
  return rowOf("Containers", sized, (container) => running.has(container));

  function isRunning({ id }: Container): boolean {
    const status = tasks.get(id);
    return status !== undefined && status !== "stopped";
  }
}

function sum(things: readonly Sized[]): number {
  return things.reduce((bytes, { size }) => bytes + size, 0);
}
