import { createHash } from "node:crypto";

import { streamBlob } from "@berth/core/content";
import { isNotFound } from "@berth/errors";
import type { Digest } from "@berth/oci";
import type { TreeFacts } from "@berth/testing";
import { differences, readTree, sha256 } from "@berth/testing";

import type { FaultRig } from "./fault-rig.ts";
import { withSnapshot } from "./mount-snapshot.ts";
import { COMMITTED, committedFiles } from "./operations.ts";

/**
 * This holds a daemon against what it has acknowledged, and against what may never be seen: blobs with other bytes than their
 * digest says, images without their content, committed snapshots with other files than their layers have. Returns what is wrong.
 */
export async function checkState(rig: FaultRig): Promise<string[]> {
  return [...(await checkStored(rig)), ...(await checkSnapshots(rig))];
}

/** The part of {@link checkState} that makes nothing: images and blobs. */
export async function checkStored(rig: FaultRig): Promise<string[]> {
  const blobs = await readableBlobs(rig);
  return [...blobs.problems, ...(await checkImages(rig, blobs.digests))];
}

async function readableBlobs(rig: FaultRig): Promise<{ digests: ReadonlySet<string>; problems: string[] }> {
  const { content } = rig.client;
  const digests = new Set<string>();
  const problems: string[] = [];
  for (const { digest, size } of await Array.fromAsync(content.list())) {
    const found = await hashBlob(rig, digest).catch((error: unknown) => String(error));
    if (found === `${digest} ${size}`) digests.add(digest);
    else if (await isThere(content.info(digest))) problems.push(`blob ${digest} of ${size} bytes: ${found}`);
  }
  for (const digest of rig.ledger.heldBlobs) {
    if (!digests.has(digest)) problems.push(`blob ${digest} was acknowledged under a lease and is missing`);
  }
  return { digests, problems };
}

async function hashBlob(rig: FaultRig, digest: Digest): Promise<string> {
  const hash = createHash("sha256");
  let size = 0;
  for await (const chunk of streamBlob(rig.client.content, digest)) {
    hash.update(chunk);
    size += chunk.length;
  }
  return `sha256:${hash.digest("hex")} ${size}`;
}

async function checkImages(rig: FaultRig, blobs: ReadonlySet<string>): Promise<string[]> {
  const problems: string[] = [];
  const listed = new Map<string, string>();
  for await (const { name, target } of rig.client.images.list()) listed.set(name, target.digest);
  for (const [name, digest] of rig.ledger.images) {
    if (listed.get(name) !== digest) problems.push(`image ${name} was acknowledged and is ${listed.get(name)}`);
  }
  for (const [name, target] of listed) {
    const image = Object.values(rig.images).find(({ manifest }) => manifest.digest === target);
    if (image === undefined) {
      problems.push(`image ${name} has an unknown target`);
      continue;
    }
    const missing = [image.manifest, image.config, ...image.layers].filter(({ digest }) => !blobs.has(digest));
    problems.push(...missing.map(({ digest }) => `image ${name} lacks ${digest}`));
  }
  return problems;
}

async function checkSnapshots(rig: FaultRig): Promise<string[]> {
  const problems: string[] = [];
  const snapshotter = rig.client.snapshotter(rig.snapshotter);
  const committed = new Set<string>();
  for (const info of await Array.fromAsync(snapshotter.list())) {
    if (info.kind === "committed") committed.add(info.name);
    // Whatever is listed can be asked for.
    else {
      const failure = await snapshotter.mounts(info.name).then(() => undefined, String);
      const isWrong = failure !== undefined && (await isThere(snapshotter.stat(info.name)));
      if (isWrong) problems.push(`${info.name}: ${failure}`);
    }
  }
  for (const name of expectedSnapshots(rig)) {
    if (!committed.has(name)) problems.push(`snapshot ${name} was acknowledged and is missing`);
  }
  const trees = expectedTrees(rig);
  for (const name of committed) {
    const tree = trees.get(name);
    if (tree === undefined) problems.push(`snapshot ${name} is unknown`);
    else problems.push(...(await checkTree(rig, name, tree)));
  }
  return problems;
}

function expectedSnapshots({ ledger, images, snapshotter }: FaultRig): string[] {
  const kept = Object.values(images)
    .filter(({ name, manifest }) => ledger.images.get(name) === manifest.digest)
    .flatMap(({ config }) => ledger.kept.get(config.digest) ?? []);
  const all = [...kept, ...ledger.heldSnapshots.values(), ...ledger.rootSnapshots.values()];
  return all.flatMap((one) => (one.snapshotter === snapshotter ? [one.name] : []));
}

function expectedTrees({ images }: FaultRig): ReadonlyMap<string, TreeFacts> {
  const { first, second } = images;
  const written = [...committedFiles()].map(([name, bytes]) => [name, `100640 0:0 ${sha256(bytes).slice(7)}`] as const);
  const base = first.snapshots.get(first.chainId) ?? new Map<string, string>();
  return new Map([...first.snapshots, ...second.snapshots, [COMMITTED.name, new Map([...base, ...written])]]);
}

async function checkTree(rig: FaultRig, name: string, expected: TreeFacts): Promise<string[]> {
  const snapshotter = rig.client.snapshotter(rig.snapshotter);
  const key = "fault-view";
  try {
    const mounts = await snapshotter.view(key, name, { labels: new Map([["containerd.io/gc.root", "now"]]) });
    const found = await withSnapshot(rig.client, mounts, readTree);
    return differences(found, expected).map((difference) => `snapshot ${name}: ${difference}`);
  } catch (error) {
    return (await isThere(snapshotter.stat(name))) ? [`snapshot ${name}: ${String(error)}`] : [];
  } finally {
    await snapshotter.remove(key).catch(() => {});
  }
}

/** What is not acknowledged may be collected while it is looked at. */
async function isThere(lookUp: Promise<unknown>): Promise<boolean> {
  try {
    await lookUp;
    return true;
  } catch (error) {
    if (isNotFound(error)) return false;
    throw error;
  }
}
