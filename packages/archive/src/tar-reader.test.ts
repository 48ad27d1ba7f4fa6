import { codeName, codeOf, type ErrorClass } from "@berth/errors";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { formatPaxRecords } from "./pax-records.ts";
import { readTar } from "./read-tar.ts";
import type { TarHeader } from "./tar-header.ts";
import { createTarReader } from "./tar-reader.ts";
import { formatTarHeader, TAR_END_MARKER, type TarEntryWithContent, tarPadding, writeTar } from "./tar-writer.ts";

interface Seen {
  readonly header: TarHeader;
  readonly content: Uint8Array;
}

async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(chunks));
}

/** Reads an archive that is given in pieces cut at `cuts`. */
function read(archive: Uint8Array, cuts: readonly number[] = [], budgets = {}): Seen[] {
  const seen: Seen[] = [];
  let header: TarHeader | undefined;
  let pieces: [number, Buffer][] = [];
  const reader = createTarReader(
    {
      entry: (next) => {
        header = next;
        pieces = [];
      },
      data: (bytes, offset) => pieces.push([offset, Buffer.from(bytes)]),
      endEntry: () => {
        if (header === undefined) throw new Error("end before entry");
        const content = new Uint8Array(Math.min(header.size, 2 ** 24));
        for (const [offset, bytes] of pieces) content.set(bytes, offset);
        seen.push({ header, content });
      },
    },
    budgets,
  );
  const places = [0, ...cuts.map((cut) => cut % (archive.length + 1)).sort((a, b) => a - b), archive.length];
  for (let i = 1; i < places.length; i++) reader.write(archive.subarray(places[i - 1], places[i]));
  reader.end();
  return seen;
}

function failure(archive: Uint8Array, budgets = {}): ErrorClass | undefined {
  try {
    read(archive, [], budgets);
    return undefined;
  } catch (error) {
    return codeName(codeOf(error));
  }
}

const nameByte = fc.oneof(
  fc.integer({ min: 0x21, max: 0x7e }),
  fc.integer({ min: 0x80, max: 0xff }),
  fc.constant(0x2f),
);
const name = fc
  .uint8Array({ minLength: 1, maxLength: 300 })
  .map((bytes) => bytes.map((byte) => (byte === 0 ? 0x61 : byte)));
const path = fc.oneof(
  fc.array(nameByte, { minLength: 1, maxLength: 280 }).map((bytes) => Uint8Array.from(bytes)),
  fc.string({ minLength: 1, maxLength: 120 }).map((text) => Buffer.from(text.replaceAll("\0", "-"))),
);
const time = fc.record({ seconds: fc.integer({ min: -(2 ** 40), max: 2 ** 40 }), nanoseconds: fc.nat(999_999_999) });
const xattrs = fc
  .array(fc.tuple(fc.stringMatching(/^[a-z.]{1,12}$/), fc.uint8Array({ maxLength: 60 })), { maxLength: 3 })
  .map((pairs) => new Map(pairs));

const entry: fc.Arbitrary<TarEntryWithContent> = fc.record({
  // a trailing slash makes a directory only of the NUL type flag, which the writer never writes
  path,
  type: fc.constantFrom("file", "link", "symlink", "char", "block", "directory", "fifo"),
  linkPath: name,
  mode: fc.nat(0o7777),
  uid: fc.oneof(fc.nat(70_000), fc.nat(2 ** 32 - 1)),
  gid: fc.nat(2 ** 32 - 1),
  userName: fc.string({ maxLength: 40 }).map((text) => text.replaceAll("\0", "")),
  mtime: time,
  atime: fc.option(time, { nil: undefined }),
  deviceMajor: fc.nat(4095),
  deviceMinor: fc.nat(2 ** 20),
  xattrs,
  content: fc.uint8Array({ maxLength: 1500 }),
});

function sameAs({ header, content }: Seen, written: TarEntryWithContent): void {
  const bytes = (text: string, raw: Uint8Array | undefined): Buffer => Buffer.from(raw ?? Buffer.from(text));
  expect(bytes(header.path, header.rawPath)).toEqual(Buffer.from(written.path));
  const isLink = written.type === "link" || written.type === "symlink";
  expect(bytes(header.linkPath, header.rawLinkPath)).toEqual(Buffer.from(isLink ? (written.linkPath ?? "") : ""));
  const isDevice = written.type === "char" || written.type === "block";
  expect(header).toMatchObject({
    type: written.type,
    mode: written.mode,
    uid: written.uid,
    gid: written.gid,
    userName: written.userName,
    mtime: written.mtime,
    atime: written.atime,
    deviceMajor: isDevice ? written.deviceMajor : 0,
    deviceMinor: isDevice ? written.deviceMinor : 0,
  });
  expect(new Map([...header.xattrs].map(([key, value]) => [key, Buffer.from(value)]))).toEqual(
    new Map([...(written.xattrs ?? [])].map(([key, value]) => [key, Buffer.from(value)])),
  );
  expect(Buffer.from(content)).toEqual(Buffer.from(written.content as Uint8Array)); // the arbitrary gives arrays only
}

/** Only a file has content. */
function normal(one: TarEntryWithContent): TarEntryWithContent {
  return one.type === "file" ? one : { ...one, content: new Uint8Array(0) };
}

describe("TarReader", () => {
  it("reads what writeTar wrote, wherever the chunks are cut", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(entry, { maxLength: 5 }), fc.array(fc.nat(), { maxLength: 8 }), async (list, cuts) => {
        const entries = list.map(normal);
        const archive = await collect(writeTar(entries));
        const seen = read(archive, cuts);
        expect(seen.length).toBe(entries.length);
        for (const [i, one] of seen.entries()) sameAs(one, entries[i] as TarEntryWithContent); // same length as seen
      }),
      { numRuns: 300 },
    );
  });

  it("fails with a class on mutated archives, and never hands out more than it was given", async () => {
    const mutation = fc.record({ at: fc.nat(), byte: fc.nat(255), count: fc.integer({ min: 1, max: 12 }) });
    await fc.assert(
      fc.asyncProperty(
        fc.array(entry, { maxLength: 4 }),
        fc.array(mutation, { maxLength: 6 }),
        async (list, mutations) => {
          const archive = await collect(writeTar(list.map(normal)));
          for (const { at, byte, count } of mutations) {
            const start = at % archive.length;
            archive.fill(byte, start, Math.min(start + count, archive.length));
          }
          let handedOut = 0;
          const reader = createTarReader({ entry() {}, data: (bytes) => (handedOut += bytes.length), endEntry() {} });
          try {
            reader.write(fixChecksums(archive));
            reader.end();
          } catch (error) {
            expect(["invalid_argument", "data_loss", "resource_exhausted"]).toContain(codeName(codeOf(error)));
          }
          expect(handedOut).toBeLessThanOrEqual(archive.length);
        },
      ),
      { numRuns: 500 },
    );
  });

  it("fails with a class on garbage", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 3000 }), (bytes) => {
        const code = failure(bytes);
        expect([undefined, "invalid_argument", "data_loss", "resource_exhausted"]).toContain(code);
      }),
    );
  });

  it("accepts an archive without end marker, and ignores what is behind one", async () => {
    const archive = await collect(writeTar([{ path: "a", type: "file", content: Buffer.from("hello") }]));
    expect(read(archive.subarray(0, 1024)).length).toBe(1);
    expect(read(archive.subarray(0, 512 + 5)).length).toBe(1);
    expect(read(Buffer.concat([archive, Buffer.from("garbage behind")])).length).toBe(1);
    expect(read(new Uint8Array(0))).toEqual([]);
  });

  it("ignores global PAX headers and lets an empty record take a value back", () => {
    const records = (...pairs: [string, string][]): Buffer => {
      const body = formatPaxRecords(pairs.map(([key, value]) => ({ key, value: Buffer.from(value) })));
      const header = formatTarHeader({ path: "pax", type: "file", size: body.length });
      return Buffer.concat([header, body, tarPadding(body.length)]);
    };
    const global = retype(records(["path", "global"]), "g");
    const local = retype(records(["path", ""], ["uid", "7"], ["vendor.unknown", "x"]), "x");
    const [one] = read(
      Buffer.concat([global, local, formatTarHeader({ path: "plain", type: "file" }), TAR_END_MARKER]),
    );
    expect(one?.header).toMatchObject({ path: "plain", uid: 7 });
  });

  const file = { path: "some/path", type: "file", content: Buffer.alloc(2000, 1) } as const;
  it.each([
    ["cut inside a header", (a: Buffer) => a.subarray(0, 300), "data_loss"],
    ["cut inside the content", (a: Buffer) => a.subarray(0, 1000), "data_loss"],
    ["a wrong checksum", (a: Buffer) => set(a, 0, 0x62), "invalid_argument"],
    [
      "a negative size",
      (a: Buffer) => fixChecksums(set(a, 124, ...Array.from({ length: 12 }, () => 0xff))),
      "invalid_argument",
    ],
    ["a size beyond 2^53", (a: Buffer) => fixChecksums(set(a, 124, 0x80, 0, 0, 0, 0x7f)), "invalid_argument"],
    ["letters for a uid", (a: Buffer) => fixChecksums(set(a, 108, 0x61, 0x62)), "invalid_argument"],
    [
      "a negative uid",
      (a: Buffer) => fixChecksums(set(a, 108, ...Array.from({ length: 8 }, () => 0xff))),
      "invalid_argument",
    ],
    ["a lone zero block", (a: Buffer) => Buffer.concat([new Uint8Array(512), a]), "invalid_argument"],
    [
      "an extension header at the end",
      (a: Buffer) => retype(Buffer.concat([a.subarray(0, 2560), TAR_END_MARKER]), "L"),
      "data_loss",
    ],
    ["PAX records that are none", (a: Buffer) => retype(a, "x"), "invalid_argument"],
  ])("rejects %s", async (_, change, code) => {
    expect(failure(change(await collect(writeTar([file]))))).toBe(code);
  });

  it.each([
    ["bytes", { maxBytes: 4000 }],
    ["entries", { maxEntries: 1 }],
    ["path bytes", { maxPathBytes: 8 }],
    ["path components", { maxDepth: 0 }],
    ["file bytes", { maxFileBytes: 1999 }],
  ])("keeps the budget of %s", async (_, budgets) => {
    const archive = await collect(writeTar([file, file]));
    expect(failure(archive, budgets)).toBe("resource_exhausted");
    expect(failure(archive)).toBe(undefined);
  });

  const sparse = (map: string, size: number, stored: number): Buffer => {
    const records = (
      [
        ["GNU.sparse.size", String(size)],
        ["GNU.sparse.map", map],
      ] as const
    ).map(([key, value]) => ({
      key,
      value: Buffer.from(value),
    }));
    const body = formatPaxRecords(records);
    const extension = retype(Buffer.from(formatTarHeader({ path: "pax", type: "file", size: body.length })), "x");
    const header = formatTarHeader({ path: "sparse", type: "file", size: stored });
    const content = Buffer.alloc(stored, 1);
    return Buffer.concat([
      extension,
      body,
      tarPadding(body.length),
      header,
      content,
      tarPadding(stored),
      TAR_END_MARKER,
    ]);
  };

  it.each([
    ["in order", "0,10,50,10", 100, 20, undefined],
    ["with empty segments", "0,10,50,10,100,0", 100, 20, undefined],
    ["of nothing but a hole", "", 100, 0, undefined],
    ["that overlaps", "0,10,5,10", 100, 20, "invalid_argument"],
    ["out of order", "50,10,0,10", 100, 20, "invalid_argument"],
    ["that ends behind the file", "0,10,95,10", 100, 20, "invalid_argument"],
    ["of more than is stored", "0,10,50,10", 100, 19, "invalid_argument"],
    ["of less than is stored", "0,10,50,10", 100, 21, "invalid_argument"],
    ["without a length", "0,10,50", 100, 10, "invalid_argument"],
    ["of no numbers", "0,1e1", 100, 10, "invalid_argument"],
    ["beyond 2^53", "0,9007199254740993", 100, 10, "invalid_argument"],
    ["of a file beyond its budget", "", 2 ** 45, 0, "resource_exhausted"],
  ])("takes a sparse map %s for what it is", (_, map, size, stored, code) => {
    expect(failure(sparse(map, size, stored))).toBe(code);
  });

  it("puts sparse content where it belongs", () => {
    const [one] = read(sparse("5,10,50,10", 100, 20), [1600, 2055, 2060]);
    const expected = Buffer.alloc(100).fill(1, 5, 15).fill(1, 50, 60);
    expect(Buffer.from(one?.content ?? [])).toEqual(expected);
  });

  it("does not take an extension header that is larger than its budget", () => {
    const huge = formatTarHeader({ path: "x", type: "file", size: 2 ** 33 - 1 });
    expect(failure(retype(Buffer.from(huge), "x"))).toBe("resource_exhausted");
  });
});

describe("readTar", () => {
  it("gives entries with content, passes over what is not read, and delivers entries before a fault", async () => {
    const archive = await collect(
      writeTar(
        ["one", "two", "three"].map((text) => ({ path: text, type: "file", content: Buffer.from(text.repeat(300)) })),
      ),
    );
    const paths: string[] = [];
    let two = "";
    const reading = async (): Promise<void> => {
      for await (const { header, content } of readTar([archive.subarray(0, 4000)])) {
        paths.push(header.path);
        if (header.path === "two") two = (await collect(content)).toString();
      }
    };
    await expect(reading()).rejects.toSatisfy((error) => codeName(codeOf(error)) === "data_loss");
    expect(paths).toEqual(["one", "two", "three"]);
    expect(two).toBe("two".repeat(300));
  });

  it("closes the source when the loop is left", async () => {
    let closed = false;
    async function* source(): AsyncGenerator<Uint8Array> {
      try {
        for (;;) yield formatTarHeader({ path: "a", type: "file" });
      } finally {
        closed = true;
      }
    }
    for await (const _ of readTar(source())) break;
    expect(closed).toBe(true);
  });
});

function set(archive: Buffer, at: number, ...bytes: number[]): Buffer {
  archive.set(bytes, at);
  return archive;
}

function retype(archive: Buffer, typeflag: string): Buffer {
  return fixChecksums(set(archive, 156, typeflag.charCodeAt(0)));
}

/** Makes each block that looks like a header pass the checksum, so that tests reach what is behind it. */
function fixChecksums(archive: Buffer): Buffer {
  for (let at = 0; at + 512 <= archive.length; at += 512) {
    const block = archive.subarray(at, at + 512);
    if (block.toString("latin1", 257, 262) !== "ustar") continue;
    block.fill(0x20, 148, 156);
    const sum = block.reduce((total, byte) => total + byte, 0);
    block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  }
  return archive;
}
