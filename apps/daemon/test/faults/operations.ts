import { writeFile } from "node:fs/promises";
import { join } from "node:path";

import { importImage, unpackImage } from "@berth/client/import";
import { writeBlob } from "@berth/core/content";
import { isAlreadyExists, isNotFound, unavailable } from "@berth/errors";
import type { BuiltImage } from "@berth/testing";
import { seededRandom, sha256 } from "@berth/testing";

import type { FaultRig } from "./fault-rig.ts";
import { withSnapshot } from "./mount-snapshot.ts";

/** Something a client does that a fault may hit. */
export interface Operation {
  readonly name: string;
  /** What must be there before; no fault hits it. */
  readonly prepare?: (rig: FaultRig) => Promise<void>;
  /** Done again after a fault, it must succeed, whatever the first try came to. */
  readonly run: (rig: FaultRig) => Promise<void>;
}

/** Name of the snapshot that the operation `commit` makes, and what is in it beside the base. */
export const COMMITTED = { name: "fault-committed", key: "fault-active", files: 12 };

const ROOT_LABELS = new Map([["containerd.io/gc.root", "2026-11-21T00:00:00Z"]]);

/** This imports an image, and unpacks it when told how many layers at once. */
export async function importInto(rig: FaultRig, image: BuiltImage, layersAtOnce = 0): Promise<void> {
  const unpack = { snapshotter: rig.snapshotter, concurrency: layersAtOnce };
  await importImage(rig.client, inPieces(image.archive), layersAtOnce === 0 ? {} : { unpack });
}

async function* inPieces(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  for (let start = 0; start < bytes.length; start += 65_536) yield bytes.subarray(start, start + 65_536);
}

/** This writes into the active snapshot as a container would. */
export async function fillActive(rig: FaultRig): Promise<void> {
  const snapshotter = rig.client.snapshotter(rig.snapshotter);
  const mounts = await snapshotter.prepare(COMMITTED.key, rig.images.first.chainId, { labels: ROOT_LABELS });
  await withSnapshot(rig.client, mounts, async (path) => {
    for (const [name, bytes] of committedFiles()) await writeFile(join(path, name), bytes, { mode: 0o640 });
  });
}

/** The files that {@link fillActive} adds, by name. */
export function committedFiles(): ReadonlyMap<string, Uint8Array> {
  const random = seededRandom(77);
  return new Map(
    Array.from({ length: COMMITTED.files }, (_, index) => [`written${index}`, random.bytes(1000 * index)] as const),
  );
}

async function commit(rig: FaultRig): Promise<void> {
  const snapshotter = rig.client.snapshotter(rig.snapshotter);
  try {
    await snapshotter.commit(COMMITTED.name, COMMITTED.key, { labels: ROOT_LABELS });
  } catch (error) {
    // The first try came through, and nobody was told.
    if (!isAlreadyExists(error) && !isNotFound(error)) throw error;
    await snapshotter.stat(COMMITTED.name);
  }
}

async function removeSecond(rig: FaultRig, sync: boolean): Promise<void> {
  try {
    await rig.client.images.delete(rig.images.second.name, { sync });
  } catch (error) {
    if (!isNotFound(error)) throw error;
  }
}

async function importByCtr(rig: FaultRig): Promise<void> {
  const { second } = rig.images;
  const args = ["image", "import", "--snapshotter", rig.snapshotter, "-"];
  // Go's client waits for a daemon that is gone.
  const gone = new AbortController();
  void rig.daemon.ended.then(() => gone.abort());
  const { code, stderr } = await rig.daemon.ctr(args, { input: second.archive, signal: gone.signal });
  if (code !== 0) throw unavailable(`ctr image import: ${stderr}`);
  rig.ledger.images.set(second.name, second.manifest.digest);
  rig.ledger.kept.set(second.config.digest, { snapshotter: rig.snapshotter, name: second.chainId });
}

async function writeContent(rig: FaultRig): Promise<void> {
  const bytes = seededRandom(99).bytes(2_000_000);
  const descriptor = { digest: sha256(bytes), size: bytes.length };
  // A lease that stays: it holds the blob.
  await rig.client.leases.create({ id: "fault-lease", labels: new Map() }).catch((error: unknown) => {
    if (!isAlreadyExists(error)) throw error;
  });
  const { content } = rig.client.scoped({ lease: "fault-lease" });
  await writeBlob(content, "fault-content", inChunks(bytes), descriptor);
}

function inChunks(bytes: Uint8Array): Uint8Array[] {
  return [0, 1, 2, 3].map((quarter) =>
    bytes.subarray((quarter * bytes.length) / 4, ((quarter + 1) * bytes.length) / 4),
  );
}

/** Layers are only unpacked side by side where a snapshot can get its parent at its commit. */
function canRebase({ snapshotter }: FaultRig): boolean {
  return snapshotter === "overlayfs" || snapshotter === "erofs";
}

const withSecond = (rig: FaultRig) => importInto(rig, rig.images.second, 1);

/** Everything that faults are aimed at. The first image is imported and unpacked before each. */
export const OPERATIONS: readonly Operation[] = [
  { name: "import", run: (rig) => importInto(rig, rig.images.second) },
  {
    name: "unpack",
    prepare: (rig) => importInto(rig, rig.images.second),
    run: async (rig) => {
      const { manifest } = rig.images.second;
      await unpackImage(rig.client, manifest, { snapshotter: rig.snapshotter });
    },
  },
  {
    name: "import and unpack layers together",
    run: (rig) => importInto(rig, rig.images.second, canRebase(rig) ? 3 : 1),
  },
  { name: "import by ctr", run: importByCtr },
  { name: "write", run: writeContent },
  { name: "commit", prepare: fillActive, run: commit },
  { name: "delete", prepare: withSecond, run: (rig) => removeSecond(rig, false) },
  { name: "delete and collect", prepare: withSecond, run: (rig) => removeSecond(rig, true) },
];

/** @throws RangeError - there is none of that name */
export function operationNamed(name: string): Operation {
  const found = OPERATIONS.find((operation) => operation.name === name);
  if (found === undefined) throw new RangeError(`no operation ${name}`);
  return found;
}
