import { createHash, randomBytes } from "node:crypto";
import { chmod, readdir, stat, truncate, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";

import type { ContentStore } from "@berth/core/content";
import { writeBlob } from "@berth/core/content";
import { silentLogger } from "@berth/core/log";
import { Code, codeOf } from "@berth/errors";
import { mountTemporary } from "@berth/linux/mount";
import { type Digest, formatDigest } from "@berth/oci";
import { temporaryDirectory } from "@berth/testing";
import { describe, expect, it } from "vitest";

import { openContentStore } from "../src/open-content-store.ts";

const HOUR_MS = 3_600_000;

interface Blob {
  readonly bytes: Uint8Array;
  readonly digest: Digest;
}

async function put(store: ContentStore, size = 5000): Promise<Blob> {
  const bytes = new Uint8Array(randomBytes(size));
  const digest = formatDigest("sha256", createHash("sha256").update(bytes).digest("hex"));
  await putAgain(store, { bytes, digest });
  return { bytes, digest };
}

async function putAgain(store: ContentStore, { bytes, digest }: Blob): Promise<void> {
  await writeBlob(store, `put ${digest}`, [bytes], { digest, size: bytes.length });
}

const pathOf = (root: string, digest: Digest): string => join(root, "blobs", ...digest.split(":"));

/** What a power cut can do to a blob that a disk said to have. */
async function damage(root: string, digest: Digest, how: "zeros" | "short" | "empty"): Promise<void> {
  const path = pathOf(root, digest);
  const { size, atime, mtime } = await stat(path);
  await chmod(path, 0o644);
  if (how === "zeros") await writeFile(path, Buffer.alloc(size));
  else await truncate(path, how === "short" ? size - 1 : 0);
  await utimes(path, atime, mtime);
}

/** Leaves a store as a killed process does: it is not closed. */
async function crash(root: string, work: (store: ContentStore) => Promise<void>): Promise<void> {
  const { store } = await openContentStore({ root });
  await work(store);
}

async function codeFrom(promise: Promise<unknown>): Promise<Code | "resolved"> {
  return promise.then(() => "resolved" as const, codeOf);
}

describe("openContentStore after a crash", () => {
  it.each(["zeros", "short", "empty"] as const)(
    "moves aside a blob that the crash left as %s, and takes it again",
    async (how) => {
      await using directory = await temporaryDirectory("content");
      const root = directory.path;
      const blobs: Blob[] = [];
      await crash(root, async (store) => {
        for (let count = 0; count < 3; count += 1) blobs.push(await put(store));
      });
      const [damaged, ...sound] = blobs as [Blob, ...Blob[]];
      await damage(root, damaged.digest, how);

      await using opened = await openContentStore({ root });
      const { store } = opened;
      const told: Digest[] = [];
      store.watchLost?.((digest) => void told.push(digest));
      await opened.verified();
      expect(told).toEqual([damaged.digest]);
      expect(await codeFrom(store.info(damaged.digest))).toBe(Code.NotFound);
      expect(await codeFrom(store.reader(damaged.digest))).toBe(Code.NotFound);
      const listed = await Array.fromAsync(store.list(), ({ digest }) => digest);
      expect(listed).toEqual(sound.map(({ digest }) => digest).toSorted());
      expect(await readdir(join(root, "corrupt"))).toEqual([damaged.digest.replace(":", "-")]);

      await putAgain(store, damaged);
      await using reader = await store.reader(damaged.digest);
      expect(await reader.readAt(0, 10_000)).toEqual(damaged.bytes);
      expect(await readdir(join(root, "corrupt"))).toEqual([]);
    },
  );

  it("tells of a lost blob until it is there again, over restarts", async () => {
    await using directory = await temporaryDirectory("content");
    const root = directory.path;
    let blob: Blob | undefined;
    await crash(root, async (store) => void (blob = await put(store)));
    if (blob === undefined) throw new Error("not put");
    await damage(root, blob.digest, "zeros");
    {
      await using opened = await openContentStore({ root });
      await opened.verified();
    }
    const told = async () => {
      await using opened = await openContentStore({ root });
      const digests: Digest[] = [];
      opened.store.watchLost?.((digest) => void digests.push(digest));
      return digests;
    };
    expect(await told()).toEqual([blob.digest]);
    {
      await using opened = await openContentStore({ root });
      await putAgain(opened.store, blob);
    }
    expect(await told()).toEqual([]);
  });

  it("looks only at what was stored since the last sync, and shortly before", async () => {
    await using directory = await temporaryDirectory("content");
    const root = directory.path;
    const blobs: Blob[] = [];
    await crash(root, async (store) => {
      for (let count = 0; count < 2; count += 1) blobs.push(await put(store));
    });
    const [old, fresh] = blobs as [Blob, Blob];
    for (const { digest } of blobs) await damage(root, digest, "zeros");
    const long = new Date(Date.now() - HOUR_MS);
    await utimes(pathOf(root, old.digest), long, long);
    await using opened = await openContentStore({ root });
    await opened.verified();
    const listed = await Array.fromAsync(opened.store.list(), ({ digest }) => digest);
    expect(listed).toEqual([old.digest]);
    expect(await readdir(join(root, "corrupt"))).toEqual([fresh.digest.replace(":", "-")]);
  });

  it("has nothing to doubt after an orderly stop", async () => {
    await using directory = await temporaryDirectory("content");
    const root = directory.path;
    let blob: Blob | undefined;
    {
      await using opened = await openContentStore({ root });
      expect(await readdir(root)).toContain("unclean");
      blob = await put(opened.store);
    }
    expect(await readdir(root)).not.toContain("unclean");
    await damage(root, blob.digest, "zeros");
    await using opened = await openContentStore({ root });
    await opened.verified();
    expect((await opened.store.info(blob.digest)).size).toBe(blob.bytes.length);
  });

  it("keeps the mark, and the time of the crash, when it is stopped before all was looked at", async () => {
    await using directory = await temporaryDirectory("content");
    const root = directory.path;
    await crash(root, async (store) => void (await put(store)));
    const mark = join(root, "unclean");
    const then = new Date(Date.now() - HOUR_MS);
    await utimes(mark, then, then);
    {
      // Disposed while it looks.
      await using opened = await openContentStore({ root });
      await put(opened.store);
    }
    const left = await stat(mark).catch(() => undefined);
    // It may have been quick enough.
    if (left !== undefined) expect(left.mtimeMs).toBe(then.getTime());
    await using opened = await openContentStore({ root });
    await opened.verified();
    await opened[Symbol.asyncDispose]();
    expect(await readdir(root)).not.toContain("unclean");
  });

  it("opens on a full disk, so that what is there can be removed", async () => {
    await using disk = await mountTemporary([{ type: "tmpfs", source: "tmpfs", options: ["size=1m", "nr_inodes=50"] }]);
    const root = join(disk.path, "store");
    const blobs: Blob[] = [];
    {
      await using opened = await openContentStore({ root });
      blobs.push(await put(opened.store));
    }
    for (let count = 0; count < 50; count += 1) await writeFile(join(disk.path, `full-${count}`), "").catch(() => {});
    await using opened = await openContentStore({ root });
    for (const { digest } of blobs) await opened.store.delete(digest);
    expect(await Array.fromAsync(opened.store.list())).toEqual([]);
  });

  it("serves before it has looked", async () => {
    await using directory = await temporaryDirectory("content");
    const root = directory.path;
    const blobs: Blob[] = [];
    await crash(root, async (store) => void blobs.push(await put(store, 16 << 20)));
    const lines: string[] = [];
    const note = (message: string): void => void lines.push(message);
    const log = { ...silentLogger, info: note, error: note };
    await using opened = await openContentStore({ root, log });
    expect(lines).not.toContain("verified content");
    await put(opened.store);
    await opened.verified();
    expect(lines).toContain("verified content");
    const sizes = await Array.fromAsync(opened.store.list(), ({ size }) => size);
    expect(sizes.toSorted()).toEqual([16 << 20, 5000].toSorted());
  });
});
