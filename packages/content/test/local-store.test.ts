import { chmod, mkdir, open, readdir, readFile, rm, stat, statfs, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { Code, codeOf, messageOf } from "@berth/errors";
import { mountAll, mountTemporary, unmountAll } from "@berth/linux/mount";
import { temporaryDirectory } from "@berth/testing";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { createLocalContentStore } from "../src/local-content-store.ts";
import { ingestPath, storePaths } from "../src/blob-path.ts";

async function openStore() {
  const directory = await temporaryDirectory("content");
  const root = join(directory.path, "store");
  const store = await createLocalContentStore({ root });
  return { store, root, [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose]() };
}

const pattern = (size: number): Uint8Array => new Uint8Array(size).map((_, index) => (index * 7) % 256);

async function codeFrom(promise: Promise<unknown>): Promise<Code | "resolved"> {
  return promise.then(() => "resolved" as const, codeOf);
}

describe("a small blob that was read before", () => {
  async function storeWithBlob() {
    const subject = await openStore();
    await using writer = await subject.store.writer("ref");
    await writer.write(pattern(100));
    const { digest } = await writer.commit();
    const path = join(subject.root, "blobs", ...digest.split(":"));
    const read = async () => {
      await using reader = await subject.store.reader(digest);
      return { bytes: await reader.readAt(0, 1000), end: await reader.readAt(90, 1000), localPath: reader.localPath };
    };
    return { ...subject, digest, path, read };
  }

  it("is read again without its file, and the bytes are the caller's own", async () => {
    await using subject = await storeWithBlob();
    const first = await subject.read();
    first.bytes.fill(0);
    await rm(subject.path);
    expect(await subject.read()).toEqual({
      bytes: pattern(100),
      end: pattern(100).slice(90),
      localPath: subject.path,
    });
  });

  it("is gone once it is deleted", async () => {
    await using subject = await storeWithBlob();
    await subject.read();
    await subject.store.delete(subject.digest);
    expect(await codeFrom(subject.store.reader(subject.digest))).toBe(Code.NotFound);
  });
});

describe("layout on disk", () => {
  it("is containerd's while a ref is written", async () => {
    await using subject = await openStore();
    await using writer = await subject.store.writer("a/../b", { total: 10 });
    await writer.write(pattern(4));
    const path = ingestPath(storePaths(subject.root), "a/../b");
    expect((await readdir(path)).toSorted()).toEqual(["data", "ref", "startedat", "total", "updatedat"]);
    expect(await readFile(join(path, "ref"), "utf8")).toBe("a/../b");
    expect(await readFile(join(path, "total"), "utf8")).toBe("10");
    expect(await readFile(join(path, "startedat"), "utf8")).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
    expect((await stat(path)).mode & 0o777).toBe(0o755);
    expect(await readdir(subject.root)).toEqual(["ingest"]);
  });

  it("is containerd's after a commit: read-only file, no ingest", async () => {
    await using subject = await openStore();
    await using writer = await subject.store.writer("ref");
    await writer.write(pattern(4));
    const { digest } = await writer.commit();
    const blob = await stat(join(subject.root, "blobs", ...digest.split(":")));
    expect(blob.mode & 0o7777).toBe(0o444);
    expect(await readdir(join(subject.root, "ingest"))).toEqual([]);
  });

  it("keeps its ref when it cannot be removed: it is listed, and can be dropped later", async () => {
    await using subject = await openStore();
    await (await subject.store.writer("stuck"))[Symbol.asyncDispose]();
    const path = ingestPath(storePaths(subject.root), "stuck");
    // Nothing can be removed that something is mounted on.
    const place = join(path, "zzz");
    await mkdir(place);
    await mountAll([{ type: "tmpfs", source: "tmpfs", target: "", options: [] }], place);
    expect(await codeFrom(subject.store.abort("stuck"))).not.toBe("resolved");
    expect(await Array.fromAsync(subject.store.listStatuses(), ({ ref }) => ref)).toEqual(["stuck"]);
    await unmountAll(place);
    await subject.store.abort("stuck");
    expect(await readdir(join(subject.root, "ingest"))).toEqual([]);
  });

  it("is gone when a full disk did not let it be made", async () => {
    await using disk = await mountTemporary([{ type: "tmpfs", source: "tmpfs", options: ["size=64k"] }]);
    const store = await createLocalContentStore({ root: join(disk.path, "store") });
    await writeFile(join(disk.path, "filler"), new Uint8Array(65_536)).catch(() => {});
    expect((await statfs(disk.path)).bavail).toBe(0);
    expect(await codeFrom(store.writer("ref", { total: 5 }))).toBe(Code.ResourceExhausted);
    expect(await readdir(join(disk.path, "store", "ingest"))).toEqual([]);
  });

  it("loses at the next start the ingests whose ref a power cut has emptied or never let be written", async () => {
    await using subject = await openStore();
    const { ingests } = storePaths(subject.root);
    const whole = ingestPath(storePaths(subject.root), "whole");
    for (const [name, ref] of [
      ["0".repeat(64), undefined],
      ["1".repeat(64), ""],
      ["2".repeat(64), "another"],
    ] as const) {
      await mkdir(join(ingests, name), { recursive: true });
      await writeFile(join(ingests, name, "data"), pattern(5));
      if (ref !== undefined) await writeFile(join(ingests, name, "ref"), ref);
    }
    await (await subject.store.writer("whole"))[Symbol.asyncDispose]();
    const store = await createLocalContentStore({ root: subject.root });
    expect((await readdir(ingests)).map((name) => join(ingests, name))).toEqual([whole]);
    expect(await Array.fromAsync(store.listStatuses(), ({ ref }) => ref)).toEqual(["whole"]);
  });

  it("of containerd is understood: times with nanoseconds, total with a newline", async () => {
    await using subject = await openStore();
    const path = ingestPath(storePaths(subject.root), "theirs");
    await mkdir(path, { recursive: true });
    await writeFile(join(path, "ref"), "theirs");
    await writeFile(join(path, "data"), pattern(5));
    await writeFile(join(path, "startedat"), "2024-05-06T07:08:09.123456789+02:00");
    await writeFile(join(path, "updatedat"), "2024-05-06T07:08:10.123456789+02:00");
    await writeFile(join(path, "total"), "7\n");
    const status = await subject.store.status("theirs");
    expect(status).toMatchObject({ offset: 5, total: 7, startedAt: Date.UTC(2024, 4, 6, 5, 8, 9, 123) });
  });
});

describe("writer", () => {
  it("begins anew when the total differs from the one stored", async () => {
    await using subject = await openStore();
    {
      await using writer = await subject.store.writer("ref", { total: 10 });
      await writer.write(pattern(4));
    }
    await using writer = await subject.store.writer("ref", { total: 11 });
    expect(await writer.status()).toMatchObject({ offset: 0, total: 11 });
  });

  it.each(["no ref", "empty ref", "no data", "empty times"])(
    "heals an ingest that a crash left with %s",
    async (damage) => {
      await using subject = await openStore();
      {
        await using writer = await subject.store.writer("ref");
        await writer.write(pattern(4));
      }
      const path = ingestPath(storePaths(subject.root), "ref");
      if (damage === "no ref") await rm(join(path, "ref"));
      if (damage === "empty ref") await writeFile(join(path, "ref"), "");
      if (damage === "no data") await rm(join(path, "data"));
      if (damage === "empty times") await writeFile(join(path, "startedat"), "");
      await using writer = await subject.store.writer("ref");
      const { offset, startedAt } = await writer.status();
      expect(offset).toBe(damage === "empty times" ? 4 : 0);
      expect(startedAt).toBeGreaterThan(Date.now() - 60_000);
      await writer.write(pattern(4));
      await writer.commit({ size: offset + 4 });
    },
  );

  it("refuses a ref that UTF-8 cannot hold, so that no two refs share a directory", async () => {
    await using subject = await openStore();
    expect(await codeFrom(subject.store.writer("a\uD800"))).toBe(Code.InvalidArgument);
    await using _other = await subject.store.writer("a\uFFFD");
  });

  it("names the locked ref and since when", async () => {
    await using subject = await openStore();
    await using _writer = await subject.store.writer("busy");
    const error: unknown = await subject.store.writer("busy").catch((reason: unknown) => reason);
    expect(codeOf(error)).toBe(Code.Unavailable);
    expect(messageOf(error)).toMatch(/^ref busy locked for \d+\.\d+s \(since \d{4}-.*\)$/);
  });

  it("lets one of many concurrent openings of a ref through", async () => {
    await using subject = await openStore();
    const writers = await Promise.allSettled(Array.from({ length: 20 }, () => subject.store.writer("one")));
    const open = writers.filter((outcome) => outcome.status === "fulfilled");
    expect(open).toHaveLength(1);
    for (const { value } of open) await value[Symbol.asyncDispose]();
  });

  it("does not list files that are not named like blobs", async () => {
    await using subject = await openStore();
    await mkdir(join(subject.root, "blobs/sha256"), { recursive: true });
    await mkdir(join(subject.root, "blobs/md5"), { recursive: true });
    await writeFile(join(subject.root, "blobs/sha256/litter"), "");
    await writeFile(join(subject.root, "blobs/md5/0123"), "");
    expect(await Array.fromAsync(subject.store.list())).toEqual([]);
  });

  it("resumes data that a commit made read-only before it was killed", async () => {
    await using subject = await openStore();
    {
      await using writer = await subject.store.writer("ref");
      await writer.write(pattern(4));
    }
    await chmod(join(ingestPath(storePaths(subject.root), "ref"), "data"), 0o444);
    await using writer = await subject.store.writer("ref");
    await writer.write(pattern(4));
    expect(await writer.commit()).toMatchObject({ size: 8 });
  });
});

describe("full disk", () => {
  it("fails the write, keeps what fits for a later writer and leaves the store usable", async () => {
    await using disk = await mountTemporary([{ type: "tmpfs", source: "tmpfs", options: ["size=1m"] }]);
    const store = await createLocalContentStore({ root: join(disk.path, "store") });
    {
      await using writer = await store.writer("large");
      expect(await codeFrom(writer.write(pattern(3 << 20)))).toBe(Code.ResourceExhausted);
      expect(await codeFrom(writer.write(pattern(1)))).toBe(Code.FailedPrecondition);
      expect(await codeFrom(writer.commit())).toBe(Code.FailedPrecondition);
    }
    expect(await Array.fromAsync(store.list())).toEqual([]);
    const { offset } = await store.status("large");
    {
      await using writer = await store.writer("large");
      const [full, ours] = [pattern(offset), await writer.digest()];
      await writer.truncate(0);
      await writer.write(full.subarray(0, 1000));
      expect(ours).not.toBe(await writer.digest());
      await writer.commit({ size: 1000 });
    }
    expect(await Array.fromAsync(store.list())).toHaveLength(1);
  });
});

describe("a sync that fails", () => {
  it("fails the commit and drops the ingest, as the kernel tells of lost pages only once", async () => {
    await using subject = await openStore();
    const writer = await subject.store.writer("lost");
    await writer.write(pattern(500));
    using _broken = await failingSync();
    expect(await codeFrom(writer.commit())).not.toBe("resolved");
    expect(await codeFrom(writer.commit())).toBe(Code.FailedPrecondition);
    expect(await codeFrom(subject.store.status("lost"))).toBe(Code.NotFound);
    expect(await Array.fromAsync(subject.store.list())).toEqual([]);
  });
});

/** Makes `sync` of every file fail until it is disposed. */
async function failingSync(): Promise<Disposable> {
  await using probe = await open(import.meta.filename);
  // Every handle has this prototype.
  const handles = Object.getPrototypeOf(probe) as { sync(): Promise<void> };
  const { sync } = handles;
  handles.sync = () => Promise.reject(Object.assign(new Error("EIO: i/o error, fsync"), { code: "EIO" }));
  return { [Symbol.dispose]: () => void (handles.sync = sync) };
}

describe("any split of the bytes", () => {
  it("gives the same blob, with resumptions and truncations between", async () => {
    await using subject = await openStore();
    const step = fc.oneof(
      fc.record({ write: fc.uint8Array({ maxLength: 2000 }) }),
      fc.constant({ resume: true as const }),
      fc.constant({ truncate: true as const }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 12 }), fc.uuid(), async (steps, ref) => {
        let expected = new Uint8Array(0);
        let writer = await subject.store.writer(ref);
        for (const action of steps) {
          if ("write" in action) {
            await writer.write(action.write);
            expected = Uint8Array.from([...expected, ...action.write]);
          } else if ("resume" in action) {
            await writer[Symbol.asyncDispose]();
            writer = await subject.store.writer(ref);
          } else {
            await writer.truncate(0);
            expected = new Uint8Array(0);
          }
          expect((await writer.status()).offset).toBe(expected.length);
        }
        const digest = await writer.digest();
        const outcome = await codeFrom(writer.commit({ size: expected.length, digest }));
        // Two runs may make the same bytes.
        expect(["resolved", Code.AlreadyExists]).toContain(outcome);
        await using reader = await subject.store.reader(digest);
        expect(await reader.readAt(0, expected.length + 1)).toEqual(expected);
      }),
      { numRuns: 60 },
    );
  });
});
