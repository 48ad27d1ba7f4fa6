import { writeFile } from "node:fs/promises";
import { join } from "node:path";

import { temporaryDirectory } from "@berth/testing";
import fc from "fast-check";
import { expect, it } from "vitest";

import { BlobFile } from "./blob-file.ts";

// More than two of the windows that are read ahead.
const SIZE = 2_500_001;
const bytes = Uint8Array.from({ length: SIZE }, (_, index) => (index * 31 + (index >> 8)) & 0xff);

/** Reads that follow one another, from somewhere, of one length. */
const run = fc.record({
  start: fc.nat(SIZE),
  length: fc.integer({ min: 1, max: 100_000 }),
  count: fc.integer({ min: 1, max: 24 }),
});

it("BlobFile reads what is in the file, however its readers mix", async () => {
  await using directory = await temporaryDirectory("blob-file");
  const path = join(directory.path, "blob");
  await writeFile(path, bytes);
  await fc.assert(
    fc.asyncProperty(fc.array(run, { minLength: 1, maxLength: 4 }), async (runs) => {
      const file = await BlobFile.open(path);
      try {
        await Promise.all(
          runs.map(async ({ start, length, count }) => {
            for (let turn = 0, offset = start; turn < count; turn += 1) {
              const into = new Uint8Array(length);
              const read = await file.read(into, offset);
              expect(read > 0).toBe(offset < SIZE);
              expect(Buffer.compare(into.subarray(0, read), bytes.subarray(offset, offset + read))).toBe(0);
              offset += read;
            }
          }),
        );
      } finally {
        await file.close();
      }
    }),
  );
});

it("BlobFile reads ahead for one reader at a time", async () => {
  await using directory = await temporaryDirectory("blob-file");
  const path = join(directory.path, "blob");
  await writeFile(path, bytes);
  const file = await BlobFile.open(path);
  const read = async (offset: number): Promise<Uint8Array> => {
    const into = new Uint8Array(100);
    return into.subarray(0, await file.read(into, offset));
  };
  try {
    for (let round = 0; round < 50; round += 1) {
      const first = round * 100;
      const offsets = [first, first + 100, first + 1_300_000, first + 1_300_100, first + 200];
      const found = await Promise.all(offsets.map(read));
      expect(found).toEqual(offsets.map((offset) => bytes.subarray(offset, offset + 100)));
    }
  } finally {
    await file.close();
  }
});
