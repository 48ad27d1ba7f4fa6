import { InfoSchema, Kind } from "@berth/api/containerd/services/snapshots/v1/snapshots";
import type { Client } from "@berth/client";
import { toProtoLabels } from "@berth/core/labels";
import type { SnapshotInfo, SnapshotKind, Snapshotter } from "@berth/core/snapshots";

import { requireArgument } from "../cli/arguments.ts";
import { defineCommand } from "../cli/command.ts";
import { booleanFlag } from "../cli/flags.ts";
import { chooseSnapshotter } from "../cli/namespace-defaults.ts";
import type { Session } from "../cli/session.ts";
import { snapshotterFlag } from "../cli/shared-flags.ts";
import { formatJson } from "../output/json.ts";
import type { Listing } from "../output/listing.ts";
import { formatFlag, printListing } from "../output/listing.ts";
import { messageJson, timeField } from "../output/message-json.ts";
import { print } from "../output/print.ts";
import { formatBinarySize } from "../output/size.ts";
import { NARROW } from "../output/table.ts";
import { formatJsonTime } from "../output/time.ts";

const KINDS: Readonly<Record<SnapshotKind, string>> = { view: "View", active: "Active", committed: "Committed" };

const WIRE_KINDS: Readonly<Record<SnapshotKind, Kind>> = {
  view: Kind.VIEW,
  active: Kind.ACTIVE,
  committed: Kind.COMMITTED,
};

const LISTING: Listing<SnapshotInfo> = {
  style: NARROW,
  header: ["KEY", "PARENT", "KIND", ""],
  row: ({ name, parent, kind }) => [name, parent, KINDS[kind], ""],
  json: ({ name, parent, kind, labels, createdAt, updatedAt }) =>
    messageJson(InfoSchema, {
      name,
      parent,
      kind: WIRE_KINDS[kind],
      labels: toProtoLabels(labels),
      ...timeField("createdAt", createdAt),
      ...timeField("updatedAt", updatedAt),
    }),
};

/** This opens the snapshotter that a flag names. */
export async function openSnapshotter(
  session: Session,
  name: string,
): Promise<{ client: Client; snapshotter: Snapshotter }> {
  const client = await session.client();
  return { client, snapshotter: client.snapshotter(await chooseSnapshotter(client, name, session.signal)) };
}

export const list = defineCommand({
  usage: "",
  flags: { snapshotter: snapshotterFlag, format: formatFlag },
  async run({ flags, session }) {
    const { snapshotter } = await openSnapshotter(session, flags.snapshotter);
    await printListing(snapshotter.list({ signal: session.signal }), flags, LISTING);
  },
});

export const info = defineCommand({
  usage: "<key>",
  flags: { snapshotter: snapshotterFlag },
  async run({ flags, args, session }) {
    const key = requireArgument(args, 0, "snapshot key must be provided");
    const { snapshotter } = await openSnapshotter(session, flags.snapshotter);
    const { name, kind, parent, labels, createdAt, updatedAt } = await snapshotter.stat(key, {
      signal: session.signal,
    });
    const described = {
      Kind: KINDS[kind],
      Name: name,
      ...(parent === "" ? {} : { Parent: parent }),
      ...(labels.size === 0
        ? {}
        : { Labels: Object.fromEntries([...labels].toSorted(([one], [other]) => (one < other ? -1 : 1))) }),
      Created: formatJsonTime(createdAt),
      Updated: formatJsonTime(updatedAt),
    };
    print(`${formatJson(described)}\n`);
  },
});

export const tree = defineCommand({
  usage: "",
  flags: { snapshotter: snapshotterFlag },
  async run({ flags, session }) {
    const { snapshotter } = await openSnapshotter(session, flags.snapshotter);
    const snapshots = await Array.fromAsync(snapshotter.list({ signal: session.signal }));
    print(formatTree(snapshots));
  },
});

export const usage = defineCommand({
  usage: "[<key>, ...]",
  description: "Without keys: of every snapshot. A parent's use is not counted in its children's.",
  flags: {
    b: booleanFlag("print sizes in bytes"),
    snapshotter: snapshotterFlag,
    format: formatFlag,
  },
  async run({ flags, args, session }) {
    const { snapshotter } = await openSnapshotter(session, flags.snapshotter);
    const { signal } = session;
    const keys = args.length > 0 ? args : await Array.fromAsync(snapshotter.list({ signal }), ({ name }) => name);
    await printListing(usagesOf(snapshotter, keys, signal), flags, {
      style: NARROW,
      header: ["KEY", "SIZE", "INODES", ""],
      row: ({ key, size, inodes }) => [key, flags.b ? String(size) : formatBinarySize(size), String(inodes), ""],
      json: ({ key, size, inodes }) => ({ key, size: String(size), inodes: String(inodes) }),
    });
  },
});

async function* usagesOf(snapshotter: Snapshotter, keys: readonly string[], signal: AbortSignal) {
  for (const key of keys) yield { key, ...(await snapshotter.usage(key, { signal })) };
}

/** This writes each snapshot below its parent. One whose parent is not in the list stands at the edge, so that it is not lost. */
export function formatTree(snapshots: readonly Pick<SnapshotInfo, "name" | "parent">[]): string {
  const names = new Set(snapshots.map(({ name }) => name));
  const children = Map.groupBy(snapshots, ({ parent }) => (names.has(parent) ? parent : ""));
  const lines: string[] = [];
  const pending = (children.get("") ?? []).map(({ name }) => ({ name, level: 0 })).toReversed();
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    const { name, level } = next;
    lines.push(`${"  ".repeat(level)}${level > 0 ? "\\_" : ""} ${name}\n`);
    const below = (children.get(name) ?? []).map((child) => ({ name: child.name, level: level + 1 }));
    pending.push(...below.toReversed());
  }
  return lines.join("");
}
