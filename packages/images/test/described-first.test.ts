import { gzipSync } from "node:zlib";

import { readTar, type TarEntryWithContent, writeTar } from "@berth/archive";
import type { RandomAccess } from "@berth/images";
import { buildImage } from "@berth/testing";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { describedFirst } from "../src/index.ts";

const accessTo = (bytes: Uint8Array): RandomAccess => ({
  size: bytes.length,
  readAt: async (offset, length) => bytes.slice(offset, offset + length),
});

async function archiveOf(entries: Iterable<TarEntryWithContent>): Promise<Uint8Array> {
  return Buffer.concat(await Array.fromAsync(writeTar(entries)));
}

async function entriesOf(chunks: AsyncIterable<Uint8Array>) {
  const entries = [];
  for await (const { header, content } of readTar(chunks)) {
    entries.push({ ...header, content: Buffer.concat(await Array.fromAsync(content)).toString("base64") });
  }
  return entries;
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

const file = (path: string, size: number, seed = 1): TarEntryWithContent => ({
  path,
  type: "file",
  size,
  content: new Uint8Array(size).fill(seed),
});

describe("describedFirst", () => {
  it("puts what is small before what is large, each in the order that it had", async () => {
    const large = (1 << 20) + 1;
    const archive = await archiveOf([
      file("blobs/a", large),
      file("index.json", 10),
      file("blobs/b", 3 * large),
      file("blobs/c", 0),
    ]);
    const ordered = await describedFirst(accessTo(archive));
    const paths = (await entriesOf(ordered ?? once(archive))).map(({ path }) => path);
    expect(paths).toEqual(["index.json", "blobs/c", "blobs/a", "blobs/b"]);
  });

  it("changes nothing but the order, whatever headers the entries have", async () => {
    const entry = fc.record({
      path: fc.string({ minLength: 1, maxLength: 300, unit: fc.constantFrom("a", "é", "b/") }),
      size: fc.constantFrom(0, 1, 511, 512, 513, (1 << 20) - 512, (1 << 20) + 5),
      seed: fc.nat(255),
      xattr: fc.option(fc.uint8Array({ maxLength: 20 })),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(entry, { maxLength: 6 }), async (recipes) => {
        const archive = await archiveOf(
          recipes.map(({ path, size, seed, xattr }) => ({
            ...file(path, size, seed),
            ...(xattr && { xattrs: new Map([["user.x", xattr]]) }),
          })),
        );
        const ordered = await describedFirst(accessTo(archive));
        expect(ordered).toBeDefined();
        const sorted = (entries: Awaited<ReturnType<typeof entriesOf>>) =>
          entries.map((each) => JSON.stringify(each)).toSorted();
        expect(sorted(await entriesOf(ordered ?? once(archive)))).toEqual(sorted(await entriesOf(once(archive))));
      }),
      { numRuns: 40 },
    );
  });

  it.each([
    ["a compressed archive", async (archive: Uint8Array) => gzipSync(archive)],
    ["one that is cut off", async (archive: Uint8Array) => archive.subarray(0, 520)],
    ["something else", async () => new TextEncoder().encode("x".repeat(5000))],
    ["very many files", () => archiveOf(Array.from({ length: 2001 }, (_, at) => file(`f${at}`, 0)))],
  ])("leaves %s as it is", async (_, make) => {
    const { archive } = await buildImage({ name: "x/y:1", layers: [[file("a", 5000)]] });
    expect(await describedFirst(accessTo(await make(archive)))).toBeUndefined();
  });

  it("tells of an archive that becomes shorter while it is read", async () => {
    const archive = await archiveOf([file("a", 3 << 20)]);
    let left = archive.length;
    const shrinking: RandomAccess = {
      size: archive.length,
      readAt: async (offset, length) => archive.slice(offset, Math.min(offset + length, left)),
    };
    const ordered = await describedFirst(shrinking);
    left = 1 << 20;
    await expect(Array.fromAsync(ordered ?? [])).rejects.toMatchObject({ message: expect.stringContaining("ended") });
  });
});
