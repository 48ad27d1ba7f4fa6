import { open, rm, writeFile } from "node:fs/promises";

import { silentLogger } from "@berth/core/log";
import { Code, codeOf } from "@berth/errors";
import { mountAll, mountTemporary } from "@berth/linux/mount";
import { describe, expect, it } from "vitest";

import { commitFailure } from "../src/commit-failure.ts";
import { Database } from "../src/index.ts";
import { ReservedSpace } from "../src/reserved-space.ts";
import { temporaryDirectory } from "./temporary-directory.ts";

const MIB = 1024 ** 2;
const key = (index: number): Uint8Array => new TextEncoder().encode(`key ${String(index).padStart(6, "0")}`);
const disk = (size: string) => mountTemporary([{ type: "tmpfs", source: "tmpfs", options: [`size=${size}`] }]);

/** This opens a database that collects what it says is fatal. */
async function openDatabase(path: string): Promise<{ database: Database; fatal: Error[] }> {
  const fatal: Error[] = [];
  const database = await Database.open({ path, mapSizeBytes: 1024 ** 3, fatal: (error) => void fatal.push(error) });
  return { database, fatal };
}

describe("Database on a full disk", () => {
  // The second comes to its end in the middle of a write, for which LMDB has another error.
  it.each([
    [28, 3000],
    [5, 9000],
  ])("that it filled itself (error %i): refuses, loses nothing, goes on when there is room", async (cause, length) => {
    await using small = await disk("1m");
    const { database, fatal } = await openDatabase(`${small.path}/file.mdb`);
    await using _database = database;
    let made = 0;
    const put = (index: number) => database.update((tx) => tx.put(key(index), new Uint8Array(length)));
    const fill = async () => {
      for (; ; made++) await put(made);
    };
    const full: unknown = await fill().catch((error: unknown) => error);
    expect(full).toMatchObject({ code: Code.ResourceExhausted, cause: { code: cause } });
    const more = await Promise.allSettled([1, 2, 3].map((index) => put(made + index)));
    expect(more.map(({ status }) => status)).toEqual(["rejected", "rejected", "rejected"]);
    expect(Array.from({ length: made + 4 }, (_, index) => index).filter((index) => database.has(key(index)))).toEqual(
      Array.from({ length: made }, (_, index) => index),
    );
    await mountAll([{ type: "tmpfs", source: "tmpfs", target: "", options: ["remount", "size=4m"] }], small.path);
    await put(made);
    expect(fatal).toEqual([]);
  });

  // Written in one go, the file has no free pages that removals could be written to. The second outgrows its first reserve.
  it.each([50, 6000])("that others filled: removes all of %i entries, one after the other", async (count) => {
    await using small = await disk("48m");
    const { database, fatal } = await openDatabase(`${small.path}/file.mdb`);
    await using _database = database;
    await database.update((tx) => {
      for (let index = 0; index < count; index++) tx.put(key(index), new Uint8Array(2000));
    });
    await expect(writeFile(`${small.path}/filler`, new Uint8Array(64 * MIB))).rejects.toMatchObject({ code: "ENOSPC" });
    for (let index = 0; index < count; index++) await database.update((tx) => tx.remove(key(index)));
    expect(Array.from(database.range({ start: key(0), end: key(count) }))).toEqual([]);
    expect(fatal).toEqual([]);
  });
});

describe("ReservedSpace", () => {
  it("takes blocks past the end, leaves the size, and again when the file has grown", async () => {
    await using directory = await temporaryDirectory();
    await using file = await open(`${directory.path}/file`, "w+");
    const reserved = new ReservedSpace(file.fd, silentLogger);
    const beyond = async () => {
      reserved.renew();
      const { size, blocks } = await file.stat();
      return { size, reserved: Math.round((blocks * 512 - size) / MIB) };
    };
    await file.writeFile("12345");
    expect(await beyond()).toEqual({ size: 5, reserved: 8 });
    await file.write(new Uint8Array(3 * MIB), 0, 3 * MIB, 0);
    expect(await beyond()).toEqual({ size: 3 * MIB, reserved: 5 });
    await file.write(new Uint8Array(3 * MIB), 0, 3 * MIB, 3 * MIB);
    expect(await beyond()).toEqual({ size: 6 * MIB, reserved: 8 });
  });

  it("does without where there is no room", async () => {
    await using small = await disk("1m");
    await using file = await open(`${small.path}/file`, "w+");
    await file.writeFile("12345");
    const reserved = new ReservedSpace(file.fd, silentLogger);
    reserved.renew();
    reserved.renew();
    const { size, blocks } = await file.stat();
    expect([size, blocks * 512]).toEqual([5, 4096]);
  });
});

describe("commitFailure", () => {
  it.each([
    ["Input/output error: Attempting to write page at position 8192", 5, false, Code.DataLoss],
    ["Input/output error", 5, true, Code.Unavailable],
    ["a failed write-back: Attempting to write page", 5, true, Code.Unavailable],
    ["a disk that does not answer: Attempting to write page", 5, true, Code.Unavailable],
    ["no space", 28, false, Code.ResourceExhausted],
    ["no quota", 122, false, Code.ResourceExhausted],
    ["a full map", -30792, false, Code.ResourceExhausted],
    ["anything else", -30797, true, Code.Unavailable],
  ])("%s (%i): fatal is %s", async (text, code, fatal, expected) => {
    await using directory = await temporaryDirectory();
    const path = `${directory.path}/file`;
    await using witness = await open(path, "w+");
    // As one that hears of an error: it cannot be synced.
    if (text.startsWith("a failed write-back")) await witness.close();
    if (text.startsWith("a disk that does not answer")) await rm(path);
    const commitError = Promise.reject(Object.assign(new Error(text), { code }));
    const failure = await commitFailure(Object.assign(new Error("Commit failed"), { commitError }), { path, witness });
    expect(failure?.fatal).toBe(fatal);
    expect(codeOf(failure?.error)).toBe(expected);
  });

  it("lets errors of callbacks pass", async () => {
    await using directory = await temporaryDirectory();
    const path = `${directory.path}/file`;
    await using witness = await open(path, "w+");
    expect(await commitFailure(new Error("mine"), { path, witness })).toBeUndefined();
  });
});
