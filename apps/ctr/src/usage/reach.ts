import type { Labels } from "@berth/core/labels";

import type { Inventory } from "./inventory.ts";

const ROOT_LABEL = "containerd.io/gc.root";
const BACK_REFERENCE = "containerd.io/gc.bref.";
/** Labels that refer to something; the text after the name tells several apart. */
const REFERENCE = /^containerd\.io\/gc\.(?:ref|cond)\.(content|image|snapshot\.[^/]+)(?:[./].*)?$/;

/** Names one thing of an inventory. */
export type NodeId = `content ${string}` | `image ${string}` | `snapshot.${string} ${string}`;

/** Which thing holds which, in one inventory. */
export type References = ReadonlyMap<NodeId, readonly NodeId[]>;

/**
 * This reads from an inventory what refers to what, as the daemon's collector does. It is there to tell how much would come free; what really goes is decided by
 * the collector.
 */
export function referencesOf({ images, blobs, snapshots }: Inventory): References {
  const references = new Map<NodeId, readonly NodeId[]>();
  for (const { name, target, labels } of images) {
    references.set(`image ${name}`, [`content ${target.digest}`, ...labelReferences(labels)]);
  }
  for (const { digest, labels } of blobs) references.set(`content ${digest}`, labelReferences(labels));
  for (const { snapshotter, name, parent, labels } of snapshots) {
    const parents: readonly NodeId[] = parent === "" ? [] : [`snapshot.${snapshotter} ${parent}`];
    references.set(`snapshot.${snapshotter} ${name}`, [...parents, ...labelReferences(labels)]);
  }
  return references;
}

/** This returns all that is held by `roots`, and these themselves. */
export function reach(references: References, roots: Iterable<NodeId>): ReadonlySet<NodeId> {
  const reached = new Set<NodeId>();
  const pending = [...roots];
  for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
    if (reached.has(next)) continue;
    reached.add(next);
    for (const node of references.get(next) ?? []) pending.push(node);
  }
  return reached;
}

/** This returns what lives whatever becomes of the images: what containers, sandboxes and leases hold, and what labels declare to be kept. */
export function fixedRoots({ blobs, snapshots, containers, leased, sandboxLabels }: Inventory): readonly NodeId[] {
  return [
    ...containers.flatMap(({ snapshotter, snapshotKey, labels }) => [
      ...(snapshotKey === "" ? [] : [`snapshot.${snapshotter} ${snapshotKey}` as const]),
      ...labelReferences(labels),
    ]),
    ...sandboxLabels.flatMap(labelReferences),
    ...leased.flatMap(({ id, type }) => leasedNode(id, type)),
    ...blobs.filter(isKept).map(({ digest }) => `content ${digest}` as const),
    ...snapshots.filter(isKept).map(({ snapshotter, name }) => `snapshot.${snapshotter} ${name}` as const),
  ];
}

function leasedNode(id: string, type: string): readonly NodeId[] {
  if (type === "content") return [`content ${id}`];
  if (type === "images") return [`image ${id}`];
  return type.startsWith("snapshots/") ? [`snapshot.${type.slice("snapshots/".length)} ${id}`] : [];
}

/** What lives as long as something else names it is counted as kept. */
function isKept({ labels }: { readonly labels: Labels }): boolean {
  return [...labels.keys()].some((key) => key === ROOT_LABEL || key.startsWith(BACK_REFERENCE));
}

function labelReferences(labels: Labels): NodeId[] {
  const found: NodeId[] = [];
  for (const [key, value] of labels) {
    const kind = REFERENCE.exec(key)?.[1];
    // A condition stands before the name.
    if (kind !== undefined) found.push(`${kind} ${value.slice(value.indexOf("|") + 1)}` as NodeId);
  }
  return found;
}
