import { appendFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

import type { ContentReader } from "@berth/core/content";
import { codeName, codeOf, unavailable } from "@berth/errors";
import type { Descriptor } from "@berth/oci";
import type { TemporaryDirectory } from "@berth/testing";
import { MemoryContentStore, sha256, temporaryDirectory } from "@berth/testing";
import { afterEach, beforeEach, expect, it } from "vitest";

import { Followers } from "../src/followers.ts";
import { IncomingBlobs } from "../src/incoming-blobs.ts";

const BYTES = new TextEncoder().encode("0123456789");
const BLOB: Descriptor = { mediaType: "a/layer", digest: sha256(BYTES), size: BYTES.length };

let directory: TemporaryDirectory;
let content: MemoryContentStore;
let blobs: IncomingBlobs;
let path: string;

beforeEach(async () => {
  directory = await temporaryDirectory("incoming");
  content = new MemoryContentStore();
  blobs = new IncomingBlobs(content);
  path = join(directory.path, "data");
});

afterEach(() => directory[Symbol.asyncDispose]());

async function begin(written: number): Promise<ContentReader> {
  await writeFile(path, BYTES.subarray(0, written));
  blobs.begin(BLOB, path, written);
  return blobs.reader(BLOB.digest);
}

async function codeThrown(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => "ok",
    (error: unknown) => codeName(codeOf(error)),
  );
}

function usedHeap(): number {
  setFlagsFromString("--expose-gc");
  runInNewContext("gc()");
  setFlagsFromString("--no-expose-gc");
  return process.memoryUsage().heapUsed;
}

it("a reader gets what is there, and waits for what is not", async () => {
  await using reader = await begin(4);
  expect(await reader.readAt(0, 4)).toEqual(BYTES.slice(0, 4));
  let got: Uint8Array | undefined;
  const reading = reader.readAt(2, 5).then((bytes) => (got = bytes));
  blobs.reached(BLOB, 6);
  await new Promise((resolve) => setImmediate(resolve));
  expect(got).toBeUndefined();
  await appendFile(path, BYTES.subarray(4));
  blobs.reached(BLOB, 10);
  expect(await reading).toEqual(BYTES.slice(2, 7));
  expect(await reader.readAt(8, 100)).toEqual(BYTES.slice(8));
  expect(await reader.readAt(10, 1)).toEqual(new Uint8Array());
});

it("a reader that waits through many chunks keeps nothing of each", async () => {
  const chunks = 20_000;
  const blob = { digest: BLOB.digest, size: chunks };
  await writeFile(path, new Uint8Array(chunks));
  blobs.begin(blob, path, 0);
  await using reader = await blobs.reader(blob.digest);
  const before = usedHeap();
  const reading = reader.readAt(0, chunks, { signal: new AbortController().signal });
  for (let offset = 1; offset < chunks; offset++) {
    blobs.reached(blob, offset);
    await new Promise(setImmediate);
  }
  // What waits for a promise that outlives them all costs more than 400 for each.
  expect((usedHeap() - before) / chunks).toBeLessThan(100);
  blobs.complete(blob.digest);
  expect(await reading).toHaveLength(chunks);
});

it("a failed download fails who reads, and who waits for the whole; one who gives up waits no more", async () => {
  await using reader = await begin(4);
  expect(await codeThrown(reader.readAt(0, 10, { signal: AbortSignal.timeout(5) }))).toBe("deadline_exceeded");
  const reading = codeThrown(reader.readAt(0, 10));
  const waiting = codeThrown(blobs.stored(BLOB.digest));
  blobs.fail(unavailable("gone"));
  expect([await reading, await waiting]).toEqual(["unavailable", "unavailable"]);
});

it("nobody waits for a blob that was not among what came, before its end or after it", async () => {
  await using _reader = await begin(10);
  const waiting = blobs.stored(sha256(new Uint8Array(1)));
  blobs.complete(BLOB.digest);
  blobs.end();
  await waiting;
  await blobs.stored(sha256(new Uint8Array(2)));
});

it("a blob that is in the store by now is read from there", async () => {
  blobs.begin(BLOB, path, 10);
  await rm(path, { force: true });
  const opening = blobs.reader(BLOB.digest);
  content.blobs.set(BLOB.digest, { bytes: BYTES, labels: new Map() });
  blobs.complete(BLOB.digest);
  await using reader = await opening;
  expect(await reader.readAt(0, 10)).toEqual(BYTES);
});

it("only so many downloads are followed, of all pulls together, the longest waiting first", () => {
  const followers = new Followers(1);
  const started: string[] = [];
  const [a, b, c] = ["a", "b", "c"].map((text) => sha256(new TextEncoder().encode(text)));
  if (a === undefined || b === undefined || c === undefined) throw new Error("three digests are made");
  const name = new Map([
    [a, "a"],
    [b, "b"],
    [c, "c"],
  ]);
  const start = (digest: Descriptor["digest"]): void => void started.push(name.get(digest) ?? "");
  const first = followers.open(start);
  const second = followers.open(start);
  first.begun(a);
  second.begun(b);
  first.begun(c);
  expect(started).toEqual(["a"]);
  second.ended(b);
  first.ended(a);
  expect(started).toEqual(["a", "c"]);
  first[Symbol.dispose]();
  second.begun(b);
  expect(started).toEqual(["a", "c", "b"]);
});
