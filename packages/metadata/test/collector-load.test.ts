import { formatDigest } from "@berth/oci";
import { temporaryDirectory } from "@berth/testing";
import { describe, expect, it } from "vitest";

import { blobs, images, snapshots } from "../src/database/tables.ts";
import type { Transaction } from "../src/database/transaction.ts";
import { openDatabase, openStorage, testNamespace } from "./daemon-storage.ts";

const ROOTS = 5_000;
const PER_ROOT = 20;
/** A slice takes a few milliseconds; the rest is for the garbage collector of the engine. */
const MAX_PAUSE_MS = 50;

function digestOf(index: number): ReturnType<typeof formatDigest> {
  return formatDigest("sha256", index.toString(16).padStart(64, "0"));
}

/** An image with its blobs, and a chain of snapshots below them. Of every tenth the image has expired. */
function putTree(tx: Transaction, root: number): void {
  const path = (key: string, group = "") => ({ namespace: testNamespace, group, key });
  const times = { createdAt: 1, updatedAt: 1 };
  const half = PER_ROOT / 2;
  const first = root * PER_ROOT;
  const target = { mediaType: "m", digest: digestOf(first), size: 1 };
  const expire = root % 10 === 0 ? [["containerd.io/gc.expire", "2001-01-01T00:00:00Z"] as const] : [];
  const image = { name: `image-${root}`, labels: new Map(expire), target, ...times };
  tx.put(images, path(image.name), image);
  for (let index = 0; index < half - 1; index++) {
    const digest = digestOf(first + index);
    const labels = new Map([
      ["containerd.io/gc.ref.content.next", digestOf(first + index + 1)],
      ["containerd.io/gc.ref.snapshot.native", `${root}-${index + 1}`],
    ]);
    tx.put(blobs, path(digest), { digest, size: 1, labels, ...times });
  }
  for (let index = 0; index < half; index++) {
    const key = `${root}-${index}`;
    const parent = index === 0 ? "" : `${root}-${index - 1}`;
    const children = index === half - 1 ? 0 : 1;
    tx.put(snapshots, path(key, "native"), { key, backendKey: key, parent, children, labels: new Map(), ...times });
  }
}

async function writeObjects(path: string): Promise<void> {
  await using database = await openDatabase(path);
  for (let begin = 0; begin < ROOTS; begin += 250) {
    await database.update((tx) => {
      for (let root = begin; root < begin + 250; root++) putTree(tx, root);
    });
  }
}

/** This measures how long the event loop ran nothing else, at the longest, without the time that other processes took. */
function watchLoop(): { stop(): number } {
  let longestMs = 0;
  let last = cpuMs();
  let stopped = false;
  const look = (): void => {
    const now = cpuMs();
    longestMs = Math.max(longestMs, now - last);
    last = now;
    if (!stopped) setImmediate(look);
  };
  setImmediate(look);
  return {
    stop: () => {
      stopped = true;
      return longestMs;
    },
  };
}

function cpuMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1000;
}

describe("Metadata.collect of 100,000 objects", () => {
  it("never holds the event loop for long, and keeps no writer waiting", { timeout: 120_000 }, async () => {
    await using directory = await temporaryDirectory("metadata");
    await writeObjects(`${directory.path}/meta.mdb`);
    await using storage = await openStorage({ root: directory.path, noSync: true });
    const { metadata, stores } = storage;
    const loop = watchLoop();
    let writes = 0;
    let done = false;
    const writing = (async () => {
      for (; !done; writes++) {
        await stores.images.create({
          name: `written-${writes}`,
          labels: new Map(),
          target: { mediaType: "m", digest: digestOf(20), size: 1 },
        });
      }
    })();
    const { marked, removed } = await metadata.collect();
    done = true;
    await writing;
    const longestMs = loop.stop();
    const total = ROOTS * PER_ROOT;
    expect(marked).toBeGreaterThanOrEqual(total * 0.9);
    expect(Object.fromEntries(removed)).toEqual({
      images: ROOTS / 10,
      content: (ROOTS / 10) * (PER_ROOT / 2 - 1),
      snapshots: (ROOTS / 10) * (PER_ROOT / 2),
    });
    expect(writes).toBeGreaterThan(20);
    expect(longestMs).toBeLessThan(MAX_PAUSE_MS);
  });
});
