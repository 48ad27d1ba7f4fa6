import { setTimeout } from "node:timers/promises";

import { Code } from "@berth/errors";
import { expect } from "vitest";

import { expectCode } from "./expect-code.ts";
import { type ContentSubject, readAll, sample, sha256, store } from "./content-subject.ts";
import type { ConformanceCase } from "./run-conformance.ts";

/** Rules of ingests and their writers. */
export const contentWriterCases: readonly ConformanceCase<ContentSubject>[] = [
  {
    name: "writer refuses an empty ref",
    run: ({ store: content }) => expectCode(content.writer(""), Code.InvalidArgument),
  },
  {
    name: "writer locks its ref until it is disposed",
    async run({ store: content }) {
      {
        await using _writer = await content.writer("locked");
        await expectCode(content.writer("locked"), Code.Unavailable);
      }
      await using _again = await content.writer("locked");
    },
  },
  {
    name: "disposing twice is safe and does not unlock a later writer",
    async run({ store: content }) {
      const first = await content.writer("twice");
      await first[Symbol.asyncDispose]();
      await using _second = await content.writer("twice");
      await first[Symbol.asyncDispose]();
      await expectCode(content.writer("twice"), Code.Unavailable);
    },
  },
  {
    name: "writer tells at once that the expected blob is stored",
    async run(subject) {
      const { digest } = await store(subject);
      await expectCode(subject.store.writer("known", { expected: digest }), Code.AlreadyExists);
      // The refused call must not have kept the lock.
      await using _writer = await subject.store.writer("known");
    },
  },
  {
    name: "status follows the bytes written",
    async run({ store: content }) {
      const startedAfter = Date.now() - 1;
      await using writer = await content.writer("followed", { total: 6 });
      await writer.write(Uint8Array.of(1, 2, 3));
      const status = await writer.status();
      expect(status).toMatchObject({ ref: "followed", offset: 3, total: 6 });
      expect(status.startedAt).toBeGreaterThanOrEqual(startedAfter);
      expect(status.updatedAt).toBeGreaterThanOrEqual(status.startedAt);
      expect(await content.status("followed")).toMatchObject({ ref: "followed", offset: 3, total: 6 });
    },
  },
  {
    name: "digest is that of the bytes so far",
    async run({ store: content }) {
      const { bytes } = sample(3000);
      await using writer = await content.writer("hashed");
      await writer.write(bytes.subarray(0, 1000));
      expect(await writer.digest()).toBe(sha256(bytes.subarray(0, 1000)));
      await writer.write(bytes.subarray(1000));
      expect(await writer.digest()).toBe(sha256(bytes));
    },
  },
  {
    name: "a disposed writer can be resumed where it stopped",
    async run(subject) {
      const { bytes, digest } = sample(2_500_000);
      {
        await using writer = await subject.store.writer("resumed", { total: bytes.length });
        await writer.write(bytes.subarray(0, 1_300_000));
      }
      await using writer = await subject.store.writer("resumed", { total: bytes.length });
      expect((await writer.status()).offset).toBe(1_300_000);
      await writer.write(bytes.subarray(1_300_000));
      await writer.commit({ digest, size: bytes.length });
      expect(sha256(await readAll(subject, digest))).toBe(digest);
    },
  },
  {
    name: "a resumed ingest keeps the time at which it began",
    async run({ store: content }) {
      const open = async () => {
        await using writer = await content.writer("old");
        await writer.write(Uint8Array.of(1));
        return (await writer.status()).startedAt;
      };
      const startedAt = await open();
      await setTimeout(20);
      expect(await open()).toBe(startedAt);
      expect((await content.status("old")).startedAt).toBe(startedAt);
    },
  },
  {
    name: "an ingest with another total begins anew",
    async run({ store: content }) {
      {
        await using writer = await content.writer("total", { total: 10 });
        await writer.write(Uint8Array.of(1, 2, 3));
      }
      await using writer = await content.writer("total", { total: 11 });
      expect((await writer.status()).offset).toBe(0);
    },
  },
  {
    name: "writers of different refs do not disturb each other",
    async run(subject) {
      const samples = Array.from({ length: 8 }, () => sample(300_000));
      await Promise.all(samples.map((each) => store(subject, each)));
      for (const { bytes, digest } of samples) expect(await readAll(subject, digest)).toEqual(bytes);
    },
  },
  {
    name: "truncate to 0 begins anew; other sizes are refused",
    async run(subject) {
      const { bytes, digest } = sample();
      await using writer = await subject.store.writer("truncated");
      await writer.write(Uint8Array.of(9, 9, 9));
      await expectCode(writer.truncate(1), Code.InvalidArgument);
      await writer.truncate(0);
      expect((await writer.status()).offset).toBe(0);
      await writer.write(bytes);
      await writer.commit({ digest });
      expect(await readAll(subject, digest)).toEqual(bytes);
    },
  },
  {
    name: "a committed or disposed writer refuses everything that writes",
    async run({ store: content }) {
      const committed = await content.writer("over");
      await committed.write(sample().bytes);
      await committed.commit();
      const disposed = await content.writer("over");
      await disposed[Symbol.asyncDispose]();
      for (const writer of [committed, disposed]) {
        await expectCode(writer.write(Uint8Array.of(1)), Code.FailedPrecondition);
        await expectCode(writer.truncate(0), Code.FailedPrecondition);
        await expectCode(writer.commit(), Code.FailedPrecondition);
      }
    },
  },
  {
    name: "abort drops an ingest",
    async run({ store: content }) {
      {
        await using writer = await content.writer("aborted");
        await writer.write(Uint8Array.of(1));
      }
      await content.abort("aborted");
      await expectCode(content.status("aborted"), Code.NotFound);
      await expectCode(content.abort("aborted"), Code.NotFound);
      await using writer = await content.writer("aborted");
      expect((await writer.status()).offset).toBe(0);
    },
  },
  {
    name: "an ingest that is aborted while it is written is not stored",
    async run(subject) {
      const { bytes, digest } = sample();
      await using writer = await subject.store.writer("pulled away");
      await writer.write(bytes);
      await subject.store.abort("pulled away");
      await expect(writer.commit({ digest })).rejects.toThrow();
      await expectCode(subject.store.info(digest), Code.NotFound);
    },
  },
  {
    name: "status of an unknown ref is not found",
    run: ({ store: content }) => expectCode(content.status("unknown"), Code.NotFound),
  },
  {
    name: "listStatuses knows every ingest and filters by ref",
    async run({ store: content }) {
      const refs = ["a", "b/c", "../d", "ü 😀", "x".repeat(3000)];
      for (const ref of refs) await (await content.writer(ref))[Symbol.asyncDispose]();
      const listed = await Array.fromAsync(content.listStatuses());
      expect(listed.map(({ ref }) => ref).toSorted()).toEqual(refs.toSorted());
      const filtered = await Array.fromAsync(content.listStatuses({ filters: ["ref==b/c", 'ref=="../d"'] }));
      expect(filtered.map(({ ref }) => ref).toSorted()).toEqual(["../d", "b/c"]);
      await expectCode(Array.fromAsync(content.listStatuses({ filters: ["ref?x"] })), Code.InvalidArgument);
    },
  },
  {
    name: "an aborted signal stops a writer and leaves its ref free",
    async run({ store: content }) {
      const signal = AbortSignal.abort();
      await expectCode(content.writer("cancelled", { signal }), Code.Canceled);
      await using writer = await content.writer("cancelled");
      await expectCode(writer.write(Uint8Array.of(1), { signal }), Code.Canceled);
      expect((await writer.status()).offset).toBe(0);
    },
  },
];
