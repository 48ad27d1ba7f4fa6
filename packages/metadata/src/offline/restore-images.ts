import type { CallOptions } from "@berth/core/any";
import type { ContentStore } from "@berth/core/content";
import { DISTRIBUTION_SOURCE } from "@berth/core/distribution-source";
import type { Descriptor, Digest } from "@berth/oci";
import { isDigest } from "@berth/oci";

import type { RecordIndex } from "../database/record-index.ts";
import { blobs, images, leaseResources } from "../database/tables.ts";
import type { Finding } from "./finding.ts";
import type { ManifestGraph } from "./manifest-graph.ts";
import { readManifestGraph } from "./manifest-graph.ts";
import type { OfflineTransaction } from "./offline-database.ts";

const IMAGE_NAME = "io.containerd.image.name";
const REF_NAME = "org.opencontainers.image.ref.name";
const ROOT_LABEL = "containerd.io/gc.root";
/** Suffix of reference labels that a repair sets. */
const RESTORED = "containerd.io/gc.ref.content.restored.";

/** Options of {@link findLostImages}. */
export interface RestoreOptions extends CallOptions {
  /** Namespace of images whose content no namespace knows. */
  readonly namespace: string;
}

/**
 * This finds images whose content is complete but which no image record names any more. Those whose name is not in an
 * annotation, or in a label of the blob, are called by their digest.
 */
export async function* findLostImages(
  index: RecordIndex,
  content: ContentStore,
  options: RestoreOptions,
): AsyncIterable<Finding> {
  const graph = await readManifestGraph(content, options);
  const held = heldDigests(index, graph);
  for (const [digest, { descriptor, children }] of graph.nodes) {
    if (held.has(digest)) continue;
    const named = children.filter((child) => nameIn(child.annotations) !== undefined && graph.nodes.has(child.digest));
    const homes = homesOf(index, digest);
    for (const namespace of homes.length === 0 ? [options.namespace] : homes) {
      for (const target of named.length === 0 ? [descriptor] : named) {
        const finding = lostImage(index, graph, namespace, target);
        if (finding !== undefined) yield finding;
      }
    }
  }
}

/** What images, leases and roots hold, and what other manifests list. */
function heldDigests(index: RecordIndex, graph: ManifestGraph): ReadonlySet<Digest> {
  const held = new Set<Digest>();
  for (const { children } of graph.nodes.values()) for (const { digest } of children) held.add(digest);
  const hold = (digest: Digest): void => {
    held.add(digest);
    for (const child of graph.nodes.get(digest)?.children ?? []) if (!held.has(child.digest)) hold(child.digest);
  };
  for (const bucket of index.buckets(images)) for (const [, { target }] of bucket.entries()) hold(target.digest);
  for (const bucket of index.buckets(leaseResources)) {
    for (const [, { type, id }] of bucket.entries()) if (type === "content" && isDigest(id)) hold(id);
  }
  for (const bucket of index.buckets(blobs)) {
    for (const [, { digest, labels }] of bucket.entries()) if (labels.has(ROOT_LABEL)) hold(digest);
  }
  return held;
}

function homesOf(index: RecordIndex, digest: Digest): string[] {
  return index
    .buckets(blobs)
    .filter((bucket) => bucket.has(digest))
    .map(({ namespace }) => namespace);
}

function lostImage(
  index: RecordIndex,
  graph: ManifestGraph,
  namespace: string,
  target: Descriptor,
): Finding | undefined {
  const name = nameIn(target.annotations) ?? nameFromSource(index, namespace, target.digest);
  const subject = `image ${name}`;
  if (index.find(images, { namespace, group: "", key: name }) !== undefined) return undefined;
  const tree = completeTree(graph, target.digest);
  if (tree === undefined) {
    const detail = `${target.digest} looks like an image without a record, but blobs of it are not there`;
    return { severity: "info", kind: "incomplete-image", namespace, subject, detail };
  }
  return {
    severity: "warning",
    kind: "lost-image",
    namespace,
    subject,
    detail: `its content is there (${target.digest}, ${tree.length} blobs), but no image names it`,
    repair: {
      action: "make the record of the image",
      change: (tx) => restoreImage(tx, graph, { namespace, name, target, tree }),
    },
  };
}

/** All blobs of an image that are there, `undefined` if it cannot be run: of an index one manifest must be complete. */
function completeTree(graph: ManifestGraph, digest: Digest): readonly Digest[] | undefined {
  const node = graph.nodes.get(digest);
  if (node === undefined) return undefined;
  if (node.kind === "manifest") {
    const digests = node.children.map((child) => child.digest);
    return digests.every((child) => graph.sizes.has(child)) ? [digest, ...digests] : undefined;
  }
  // An index in an index is not followed: a hostile one could go round in circles.
  const manifests = node.children.filter((child) => graph.nodes.get(child.digest)?.kind === "manifest");
  const trees = manifests.flatMap((child) => completeTree(graph, child.digest) ?? []);
  return trees.length === 0 ? undefined : [digest, ...trees];
}

interface LostImage {
  readonly namespace: string;
  readonly name: string;
  readonly target: Descriptor;
  readonly tree: readonly Digest[];
}

function restoreImage(
  tx: OfflineTransaction,
  graph: ManifestGraph,
  { namespace, name, target, tree }: LostImage,
): void {
  const now = Date.now();
  const times = { createdAt: now, updatedAt: now };
  const path = { namespace, group: "", key: name };
  if (tx.has(images, path)) return;
  for (const digest of new Set(tree)) {
    const place = { namespace, group: "", key: digest };
    const known = tx.get(blobs, place);
    const references = (graph.nodes.get(digest)?.children ?? []).map((child, at): [string, string] => [
      `${RESTORED}${at}`,
      child.digest,
    ]);
    const record = known ?? { digest, size: graph.sizes.get(digest) ?? 0, labels: new Map<string, string>(), ...times };
    const missing = references.filter(([, child]) => !record.labels.values().some((value) => value === child));
    if (known !== undefined && missing.length === 0) continue;
    tx.put(blobs, place, { ...record, labels: new Map([...record.labels, ...missing]) });
  }
  const { mediaType, digest, size } = target;
  tx.put(images, path, { name, labels: new Map(), target: { mediaType, digest, size }, ...times });
}

/** A reference name that is only a tag names nothing by itself. */
function nameIn(annotations: Readonly<Record<string, string>> | undefined): string | undefined {
  const name = annotations?.[IMAGE_NAME];
  if (name !== undefined && name !== "") return name;
  const reference = annotations?.[REF_NAME] ?? "";
  return reference.includes("/") ? reference : undefined;
}

/** A pull leaves the repository on each blob: `containerd.io/distribution.source.<registry>=<repository>[,…]`. */
function nameFromSource(index: RecordIndex, namespace: string, digest: Digest): string {
  for (const [label, value] of index.find(blobs, { namespace, group: "", key: digest })?.labels ?? []) {
    const [repository = ""] = value.split(",", 1);
    if (label.startsWith(DISTRIBUTION_SOURCE) && repository !== "") {
      return `${label.slice(DISTRIBUTION_SOURCE.length)}/${repository}@${digest}`;
    }
  }
  return `recovered@${digest}`;
}
