import { copyFile, open, stat, truncate, writeFile } from "node:fs/promises";

import { Code, codeOf } from "@berth/errors";
import { describe, expect, it } from "vitest";

import { Database } from "../src/index.ts";
import { temporaryDirectory } from "./temporary-directory.ts";

const openPath = (path: string) => Database.open({ path, mapSizeBytes: 1024 ** 3, fatal: () => {} });

async function codeOfOpen(path: string): Promise<Code | undefined> {
  try {
    await using _database = await openPath(path);
    return undefined;
  } catch (error) {
    return codeOf(error);
  }
}

/** This writes a database of many pages, of more in each of several transactions. */
async function writeDatabase(path: string): Promise<void> {
  await using database = await openPath(path);
  for (let index = 0; index < 20; index++) {
    await database.update((tx) => tx.put(Uint8Array.of(1, index), new Uint8Array(20_000)));
  }
}

describe("Database.open", () => {
  it("refuses what is no database, instead of ending the process", async () => {
    await using directory = await temporaryDirectory();
    const path = `${directory.path}/file`;
    for (const size of [1, 100, 4096, 5000, 100_000]) {
      await writeFile(path, Buffer.alloc(size, "x"));
      expect([size, await codeOfOpen(path)]).toEqual([size, Code.DataLoss]);
    }
  });

  it("refuses a database without its beginning, or cut off before what it needs first", async () => {
    await using directory = await temporaryDirectory();
    const whole = `${directory.path}/whole`;
    await writeDatabase(whole);
    const { size } = await stat(whole);
    const path = `${directory.path}/damaged`;
    for (const length of [200, 4096, 8192, 3 * 4096]) {
      await copyFile(whole, path);
      await truncate(path, length);
      expect([length, await codeOfOpen(path)]).toEqual([length, Code.DataLoss]);
    }
    for (const offset of [0, 4096]) {
      await copyFile(whole, path);
      await using file = await open(path, "r+");
      await file.write(Buffer.alloc(64, 0xff), 0, 64, offset);
      expect([offset, await codeOfOpen(path)]).toEqual([offset, Code.DataLoss]);
    }
    await copyFile(whole, path);
    expect([size, await codeOfOpen(path)]).toEqual([size, undefined]);
  });

  it("opens a new file, and an empty one", async () => {
    await using directory = await temporaryDirectory();
    const path = `${directory.path}/file`;
    await writeFile(path, "");
    expect(await codeOfOpen(path)).toBeUndefined();
    expect(await codeOfOpen(path)).toBeUndefined();
  });
});
