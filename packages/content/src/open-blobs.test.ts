import { createHash } from "node:crypto";
import { readdir, readlink, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { type Digest, parseDigest } from "@berth/oci";
import { temporaryDirectory } from "@berth/testing";
import { expect, it } from "vitest";

import { OpenBlobs } from "./open-blobs.ts";

const LONG_MS = 60_000;

async function setUp(idleMs: number) {
  await using made = new AsyncDisposableStack();
  const directory = made.use(await temporaryDirectory("open-blobs"));
  const blobs = made.use(new OpenBlobs(idleMs));
  const owned = made.move();
  const store = async (text: string): Promise<{ readonly digest: Digest; readonly path: string }> => {
    const path = join(directory.path, text);
    await writeFile(path, text);
    return { digest: parseDigest(`sha256:${createHash("sha256").update(text).digest("hex")}`), path };
  };
  /** How many descriptors of this process lead to files of the directory, deleted ones too. */
  const open = async (): Promise<number> => {
    const links = await Promise.all(
      (await readdir("/proc/self/fd")).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => "")),
    );
    return links.filter((link) => link.startsWith(directory.path)).length;
  };
  return { blobs, store, open, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

it("readers of a blob share its file, which stays open for a while and no longer", async () => {
  await using test = await setUp(1000);
  const { digest, path } = await test.store("a");
  const [one, other] = [await test.blobs.acquire(digest, path), await test.blobs.acquire(digest, path)];
  expect([other.file === one.file, await test.open()]).toEqual([true, 1]);
  await test.blobs.release(digest, one);
  await test.blobs.release(digest, other);
  const again = await test.blobs.acquire(digest, path);
  expect(again.file).toBe(one.file);
  await new Promise((resolve) => setTimeout(resolve, 1500));
  expect(await test.open()).toBe(1);
  await test.blobs.release(digest, again);
  await expect.poll(test.open, { timeout: 5000 }).toBe(0);
});

it("a store that is to hold nothing open closes the file with its last reader", async () => {
  await using test = await setUp(0);
  const { digest, path } = await test.store("a");
  await test.blobs.release(digest, await test.blobs.acquire(digest, path));
  expect(await test.open()).toBe(0);
});

it("the file of a deleted blob is closed at once, or with its last reader, who reads on; a new one is opened anew", async () => {
  await using test = await setUp(LONG_MS);
  const { digest, path } = await test.store("a");
  await test.blobs.release(digest, await test.blobs.acquire(digest, path));
  test.blobs.forget(digest);
  await expect.poll(test.open).toBe(0);

  const reader = await test.blobs.acquire(digest, path);
  await rm(path);
  test.blobs.forget(digest);
  await expect(test.blobs.acquire(digest, path)).rejects.toMatchObject({ code: "ENOENT" });
  const into = new Uint8Array(1);
  expect([await reader.file.read(into, 0), String.fromCharCode(...into)]).toEqual([1, "a"]);
  await test.store("a");
  const later = await test.blobs.acquire(digest, path);
  expect(later.file).not.toBe(reader.file);
  await test.blobs.release(digest, reader);
  expect(await test.open()).toBe(1);
  await test.blobs.release(digest, later);
});

it("a blob that is deleted while it is opened is not kept", async () => {
  await using test = await setUp(LONG_MS);
  const { digest, path } = await test.store("a");
  const opening = test.blobs.acquire(digest, path);
  test.blobs.forget(digest);
  await test.blobs.release(digest, await opening);
  expect(await test.open()).toBe(0);
});

it("of many blobs the latest stay open", async () => {
  await using test = await setUp(LONG_MS);
  for (let index = 0; index < 40; index += 1) {
    const { digest, path } = await test.store(`${index}`);
    await test.blobs.release(digest, await test.blobs.acquire(digest, path));
  }
  await expect.poll(test.open).toBe(16);
  await test.blobs[Symbol.asyncDispose]();
  expect(await test.open()).toBe(0);
});
