import { readFile } from "node:fs/promises";

import type { Image } from "@berth/core/images";
import { silentLogger } from "@berth/core/log";
import type { Namespace } from "@berth/core/namespaces";
import { Database } from "@berth/database";
import { Code, codeOf } from "@berth/errors";
import { parseDigest } from "@berth/oci";
import { ImageCreateSchema } from "@berth/api/containerd/services/images/v1/events";
import { DatabaseHeaderSchema } from "@berth/api/berth/metadata/v1/database";
import { ImageEntrySchema } from "@berth/api/berth/metadata/v1/image";
import { create, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";
import { temporaryDirectory } from "@berth/testing";
import { describe, expect, it } from "vitest";

import type { Migration } from "../src/database/migrations.ts";
import { MetadataDatabase } from "../src/database/metadata-database.ts";
import { compareBytes } from "../src/database/key-order.ts";
import { decodeRecordKey, encodeRecordKey, recordRange } from "../src/database/record-key.ts";
import { images, leaseResources, sandboxes } from "../src/database/tables.ts";
import { testNamespace } from "./daemon-storage.ts";

const published: string[] = [];

function openRaw(path: string): Promise<Database> {
  return Database.open({ path, mapSizeBytes: 1024 ** 3, fatal: (error) => expect.fail(error.message) });
}

/** This writes what the first version of berth wrote, without its code. */
async function writeFirstVersion(path: string): Promise<void> {
  await using raw = await openRaw(path);
  await raw.update((tx) => {
    const header = create(DatabaseHeaderSchema, { schemaVersion: 1, sequenceLimit: 7n });
    tx.put(Uint8Array.of(0), toBinary(DatabaseHeaderSchema, header));
    const target = { mediaType: "m", digest: `sha256:${"a".repeat(64)}`, size: 1n };
    const entry = create(ImageEntrySchema, { labels: { ["__proto__"]: "x" }, target, createdAt: 1n, updatedAt: 2n });
    // Prefix, length and text of the namespace, no group, literal key.
    const key = Buffer.concat([Uint8Array.of(2, 4), Buffer.from("test"), Uint8Array.of(0, 0), Buffer.from("old")]);
    tx.put(key, toBinary(ImageEntrySchema, entry));
  });
}

function openDatabase(path: string, migrations?: readonly Migration[]): Promise<MetadataDatabase> {
  return MetadataDatabase.open({
    ...(migrations === undefined ? {} : { migrations }),
    path,
    noSync: false,
    log: silentLogger,
    events: { publish: async (_namespace: Namespace, topic: string) => void published.push(topic) },
    fatal: (error) => {
      throw error;
    },
  });
}

function image(name: string): Image {
  const target = { mediaType: "m", digest: parseDigest(`sha256:${"a".repeat(64)}`), size: 1 };
  return { name, labels: new Map([["__proto__", "x"]]), target, createdAt: 1, updatedAt: 2 };
}

const at = (key: string, group = "") => ({ namespace: testNamespace, group, key });

describe("MetadataDatabase", () => {
  it("reads back what was committed, long keys and odd labels included", async () => {
    await using directory = await temporaryDirectory("metadata");
    const path = `${directory.path}/meta.mdb`;
    const names = ["a", "ü".repeat(400), "x".repeat(1024), `${"x".repeat(5000)}1`, `${"x".repeat(5000)}2`, "nul\0"];
    const group = "g".repeat(300);
    {
      await using database = await openDatabase(path);
      await database.update((tx) => names.forEach((name) => tx.put(images, at(name), image(name))));
      await database.update((tx) => {
        tx.put(leaseResources, at("k", group), { type: "images", id: "i" });
        expect(tx.list(leaseResources, testNamespace, group)).toHaveLength(1);
        expect(tx.list(leaseResources, testNamespace, "g")).toHaveLength(0);
      });
    }
    await using database = await openDatabase(path);
    const { index } = database;
    expect(index.bucket(images, testNamespace).sorted()).toEqual(names.toSorted(compareBytes).map(image));
    expect(index.bucket(leaseResources, testNamespace, group).get("k")).toEqual({ type: "images", id: "i" });
  });

  it("keeps nothing of an update that throws: no record, no event, nothing in the index", async () => {
    await using directory = await temporaryDirectory("metadata");
    await using database = await openDatabase(`${directory.path}/meta.mdb`);
    published.length = 0;
    const good = database.update((tx) => tx.put(images, at("good"), image("good")));
    const bad = database.update((tx) => {
      tx.put(images, at("bad"), image("bad"));
      tx.emit(testNamespace, "/images/create", ImageCreateSchema, { name: "bad" });
      throw new Error("no");
    });
    await expect(bad).rejects.toThrow("no");
    await good;
    await database.update((tx) =>
      expect([tx.has(images, at("bad")), tx.has(images, at("good"))]).toEqual([false, true]),
    );
    expect(
      database.index
        .bucket(images, testNamespace)
        .sorted()
        .map(({ name }) => name),
    ).toEqual(["good"]);
    expect(published).toEqual([]);
  });

  it("lets updates see those before them, and the index only what is committed", async () => {
    await using directory = await temporaryDirectory("metadata");
    await using database = await openDatabase(`${directory.path}/meta.mdb`);
    const first = database.update((tx) => tx.put(images, at("a"), image("a")));
    const second = database.update((tx) => {
      expect(tx.get(images, at("a"))).toEqual(image("a"));
      expect(database.index.bucket(images, testNamespace).has("a")).toBe(false);
    });
    await Promise.all([first, second]);
    expect(database.index.bucket(images, testNamespace).has("a")).toBe(true);
  });

  it("refuses an async callback at compile time, and the use of a transaction that is over", async () => {
    await using directory = await temporaryDirectory("metadata");
    await using database = await openDatabase(`${directory.path}/meta.mdb`);
    // @ts-expect-error -- an async callback must not compile
    await database.update(async () => 1);
    const kept = await database.update((tx) => ({ tx }));
    expect(() => kept.tx.has(images, at("a"))).toThrow();
  });

  it("never gives out a sequence number twice, over a restart too", async () => {
    await using directory = await temporaryDirectory("metadata");
    const seen = new Set<bigint>();
    for (let run = 0; run < 3; run++) {
      await using database = await openDatabase(`${directory.path}/meta.mdb`);
      const numbers = await Promise.all(Array.from({ length: 1500 }, () => database.nextSequence()));
      for (const number of numbers) {
        expect(number).toBeGreaterThanOrEqual(database.firstSequence);
        expect(seen.has(number)).toBe(false);
        seen.add(number);
      }
    }
  });

  it("brings a database of the first version to the latest, which an older berth refuses then", async () => {
    await using directory = await temporaryDirectory("metadata");
    const path = `${directory.path}/meta.mdb`;
    await writeFirstVersion(path);
    {
      await using database = await openDatabase(path);
      expect(database.firstSequence).toBe(7n);
      expect(database.index.find(images, at("old"))).toEqual(image("old"));
      expect(database.index.find(sandboxes, at("s"))).toBeUndefined();
    }
    expect(codeOf(await openDatabase(path, []).catch((error: unknown) => error))).toBe(Code.FailedPrecondition);
  });

  it("takes every step from the version of the file, once, and all of them or none", async () => {
    await using directory = await temporaryDirectory("metadata");
    const path = `${directory.path}/meta.mdb`;
    await writeFirstVersion(path);
    const taken: number[] = [];
    const { key } = encodeRecordKey(images.prefix, at("old"));
    const rename = { ...encodeRecordKey(images.prefix, at("new")) };
    const steps = [2, 3, 4].map((version): Migration => ({
      version,
      title: `to ${version}`,
      run: (entries) => {
        taken.push(version);
        const value = entries.get(key);
        if (version === 3 && value !== undefined) {
          entries.put(rename.key, value);
          entries.remove(key);
        }
        if (version === 4 && taken.length < 4) throw new Error("not this time");
      },
    }));
    await expect(openDatabase(path, steps)).rejects.toThrow("not this time");
    {
      // As it was.
      await using first = await openDatabase(path, []);
      expect(first.index.bucket(images, testNamespace).sorted()).toEqual([image("old")]);
    }
    for (let start = 0; start < 2; start++) {
      await using database = await openDatabase(path, steps);
      expect(database.index.bucket(images, testNamespace).sorted()).toEqual([image("new")]);
    }
    expect(taken).toEqual([2, 3, 4, 2, 3, 4]);
    {
      // A new one has nothing behind it.
      await using _new = await openDatabase(`${directory.path}/new.mdb`, steps);
      expect(taken).toHaveLength(6);
    }
  });

  it("does not open where a record cannot be read", async () => {
    await using directory = await temporaryDirectory("metadata");
    const path = `${directory.path}/meta.mdb`;
    await writeFirstVersion(path);
    {
      await using raw = await openRaw(path);
      const { key } = encodeRecordKey(images.prefix, at("damaged"));
      await raw.update((tx) => tx.put(key, Uint8Array.of(0xff, 0xff)));
    }
    expect(codeOf(await openDatabase(path).catch((error: unknown) => error))).toBe(Code.DataLoss);
  });

  it("refuses a database of a newer version and leaves it alone", async () => {
    await using directory = await temporaryDirectory("metadata");
    const path = `${directory.path}/meta.mdb`;
    {
      await using newer = await openRaw(path);
      const header = create(DatabaseHeaderSchema, { schemaVersion: 99, sequenceLimit: 1n });
      await newer.update((tx) => tx.put(Uint8Array.of(0), toBinary(DatabaseHeaderSchema, header)));
    }
    const bytes = await readFile(path);
    const error: unknown = await openDatabase(path).catch((reason: unknown) => reason);
    expect(codeOf(error)).toBe(Code.FailedPrecondition);
    expect(await readFile(path)).toEqual(bytes);
  });
});

describe("encodeRecordKey", () => {
  // Strings from the wire are valid UTF-8.
  const text = fc.string({ unit: "grapheme", maxLength: 1200 }).map((value) => value.toWellFormed());
  const path = fc.record({ namespace: fc.string({ maxLength: 20 }), group: text, key: text });

  it("is the inverse of decodeRecordKey, where the key is literal", () => {
    fc.assert(
      fc.property(path, (each) => {
        const { key, long } = encodeRecordKey(9, each);
        expect(key.length).toBeLessThanOrEqual(1024 + 64);
        expect(decodeRecordKey(key)).toEqual(long ? undefined : each);
      }),
    );
  });

  it("keeps paths apart, and within the range of their group", () => {
    fc.assert(
      fc.property(path, path, (one, other) => {
        const key = Buffer.from(encodeRecordKey(9, one).key);
        const same = one.namespace === other.namespace && one.group === other.group;
        const range = recordRange(9, other.namespace, other.group);
        expect(key.compare(range.start) >= 0 && key.compare(range.end) < 0).toBe(same);
        if (!same || one.key !== other.key) expect(key.equals(encodeRecordKey(9, other).key)).toBe(false);
      }),
    );
  });

  it("tells a watcher of updates that are under way when it comes, so that what it is not told is in the index", async () => {
    await using directory = await temporaryDirectory("metadata");
    await using database = await openDatabase(`${directory.path}/meta.mdb`);
    const told: string[] = [];
    let watched: Disposable | undefined;
    const executed = (mutations: readonly { path: { key: string } }[]) =>
      void told.push(...mutations.map(({ path }) => path.key).filter((key) => key !== ""));
    await database.update((tx) => {
      tx.put(images, at("under way"), image("under way"));
      // After the callback, before the end of the commit.
      queueMicrotask(() => {
        expect(database.index.find(images, at("under way"))).toBeUndefined();
        watched = database.watch({ executed });
      });
    });
    using _watched = watched ?? expect.fail("the commit was over first");
    await database.update((tx) => tx.put(images, at("own"), image("own")), { unwatched: true });
    await database.update((tx) => tx.put(images, at("later"), image("later")));
    expect(told).toEqual(["under way", "later"]);
  });
});

describe("compareBytes", () => {
  it("orders as UTF-8 bytes do", () => {
    const text = fc.string({ unit: "binary" });
    fc.assert(
      fc.property(text, text, (a, b) => {
        expect(Math.sign(compareBytes(a, b))).toBe(Buffer.from(a).compare(Buffer.from(b)));
      }),
    );
  });
});
