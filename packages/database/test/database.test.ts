import { Code, codeOf } from "@berth/errors";
import { open } from "lmdb";
import { describe, expect, it } from "vitest";

import type { DatabaseOptions } from "../src/index.ts";
import { checkSchemaVersion, Database } from "../src/index.ts";
import { temporaryDirectory } from "./temporary-directory.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (value: Uint8Array | undefined): string | undefined =>
  value === undefined ? undefined : new TextDecoder().decode(value);
const everything = { start: Uint8Array.of(0), end: Uint8Array.of(0xff) };

function openDatabase(path: string, options: Partial<DatabaseOptions> = {}): Promise<Database> {
  return Database.open({ path, mapSizeBytes: 1024 ** 3, fatal: (error) => expect.fail(error.message), ...options });
}

describe("Database", () => {
  it.each([false, true])("reads what was committed, after it was closed too (noSync: %s)", async (noSync) => {
    await using directory = await temporaryDirectory();
    const path = `${directory.path}/file.mdb`;
    {
      await using database = await openDatabase(path, { noSync });
      await database.update((tx) => ["b", "a", "c"].forEach((key) => tx.put(bytes(key), bytes(`value of ${key}`))));
      await database.update((tx) => tx.remove(bytes("b")));
    }
    await using database = await openDatabase(path);
    expect(text(database.get(bytes("a")))).toBe("value of a");
    expect([database.has(bytes("b")), database.get(bytes("b"))]).toEqual([false, undefined]);
    expect(Array.from(database.range(everything), ({ key }) => text(key))).toEqual(["a", "c"]);
    expect(Array.from(database.range({ start: bytes("a"), end: bytes("c") }), ({ key }) => text(key))).toEqual(["a"]);
  });

  it("lets updates see those before them, and readers only what is committed", async () => {
    await using directory = await temporaryDirectory();
    await using database = await openDatabase(`${directory.path}/file.mdb`);
    const first = database.update((tx) => tx.put(bytes("a"), bytes("1")));
    const second = database.update((tx) => text(tx.get(bytes("a"))));
    expect(database.has(bytes("a"))).toBe(false);
    expect(await second).toBe("1");
    await first;
    expect(database.has(bytes("a"))).toBe(true);
  });

  it("keeps nothing of an update that throws, and all of those beside it", async () => {
    await using directory = await temporaryDirectory();
    await using database = await openDatabase(`${directory.path}/file.mdb`);
    const good = database.update((tx) => tx.put(bytes("good"), bytes("")));
    const bad = database.update((tx) => {
      tx.put(bytes("bad"), bytes(""));
      tx.remove(bytes("good"));
      throw new Error("no");
    });
    await expect(bad).rejects.toThrow("no");
    await good;
    expect([database.has(bytes("good")), database.has(bytes("bad"))]).toEqual([true, false]);
  });

  it("resolves updates in the order of their calls, and shares commits among them", async () => {
    await using directory = await temporaryDirectory();
    const path = `${directory.path}/file.mdb`;
    await using database = await openDatabase(path);
    await database.update((tx) => tx.put(bytes("x"), bytes("")));
    const before = await lastTransaction(path);
    const order: number[] = [];
    const expected = Array.from({ length: 300 }, (_, index) => index);
    await Promise.all(
      expected.map(async (index) => {
        if (index > 200) await new Promise((resolve) => setImmediate(resolve));
        await database.update((tx) => tx.put(bytes(`${index}`), bytes("")));
        order.push(index);
      }),
    );
    expect(order).toEqual(expected);
    expect((await lastTransaction(path)) - before).toBeLessThan(30);
  });

  it("refuses an async callback at compile time, and the use of a transaction that is over", async () => {
    await using directory = await temporaryDirectory();
    await using database = await openDatabase(`${directory.path}/file.mdb`);
    // @ts-expect-error -- an async callback must not compile
    await database.update(async () => 1);
    const { tx } = await database.update((open) => ({ tx: open }));
    const late = [
      () => tx.get(bytes("a")),
      () => tx.has(bytes("a")),
      () => tx.range(everything),
      () => tx.put(bytes("a"), bytes("")),
      () => tx.remove(bytes("a")),
    ];
    for (const call of late) expect(call).toThrow("over");
    expect(database.has(bytes("a"))).toBe(false);
  });

  it("waits for updates when it is closed, takes none after that, and may be closed twice", async () => {
    await using directory = await temporaryDirectory();
    const path = `${directory.path}/file.mdb`;
    const database = await openDatabase(path);
    const last = database.update((tx) => tx.put(bytes("last"), bytes("")));
    await database[Symbol.asyncDispose]();
    await database[Symbol.asyncDispose]();
    await last;
    const error: unknown = await database.update(() => 1).catch((reason: unknown) => reason);
    expect(codeOf(error)).toBe(Code.Unavailable);
    await using again = await openDatabase(path);
    expect(again.has(bytes("last"))).toBe(true);
  });
});

describe("checkSchemaVersion", () => {
  it("refuses only what is newer", () => {
    for (const found of [0, 1, 2]) expect(() => checkSchemaVersion("/file", found, 2)).not.toThrow();
    expect(() => checkSchemaVersion("/file", 3, 2)).toThrow(expect.objectContaining({ code: Code.FailedPrecondition }));
  });
});

/** This returns how many transactions the file has seen. */
async function lastTransaction(path: string): Promise<number> {
  const database = open({ path, noSubdir: true, readOnly: true });
  // The declared type of the statistics is empty.
  const { lastTxnId } = database.getStats() as { lastTxnId: number };
  await database.close();
  return lastTxnId;
}
