import { createHash } from "node:crypto";

import { streamBlob, writeBlob } from "@berth/core/content";
import { Code } from "@berth/errors";
import { formatDigest, parseDigest } from "@berth/oci";
import { expect } from "vitest";

import { expectCode } from "./expect-code.ts";
import { type ContentSubject, readAll, sample, sha256, store } from "./content-subject.ts";
import type { ConformanceCase } from "./run-conformance.ts";

const missing = parseDigest(`sha256:${"0".repeat(64)}`);

/** Rules of commits and of what is stored. */
export const contentBlobCases: readonly ConformanceCase<ContentSubject>[] = [
  {
    name: "commit makes the bytes readable under their digest",
    async run(subject) {
      const before = Date.now() - 1;
      const { bytes, digest } = await store(subject);
      expect(await readAll(subject, digest)).toEqual(bytes);
      const info = await subject.store.info(digest);
      expect(info).toMatchObject({ digest, size: bytes.length });
      expect(info.createdAt).toBeGreaterThanOrEqual(before);
      await expectCode(subject.store.status(`store-${digest}`), Code.NotFound);
    },
  },
  {
    name: "commit without a digest takes that of the bytes",
    async run(subject) {
      const { bytes, digest } = sample();
      await using writer = await subject.store.writer("unnamed");
      await writer.write(bytes);
      expect(await writer.commit()).toMatchObject({ digest, size: bytes.length });
      expect(await readAll(subject, digest)).toEqual(bytes);
    },
  },
  {
    name: "an empty blob can be stored",
    async run(subject) {
      const { bytes, digest } = await store(subject, sample(0));
      expect(await readAll(subject, digest)).toEqual(bytes);
    },
  },
  {
    name: "commit refuses a wrong size and closes the writer",
    async run(subject) {
      const { bytes, digest } = sample();
      const writer = await subject.store.writer("size");
      await writer.write(bytes);
      await expectCode(writer.commit({ size: bytes.length + 1, digest }), Code.FailedPrecondition);
      await expectCode(subject.store.info(digest), Code.NotFound);
      await using _free = await subject.store.writer("size");
    },
  },
  {
    name: "what a refused commit leaves can be resumed and committed",
    async run(subject) {
      const { bytes, digest } = sample();
      const refused = await subject.store.writer("refused");
      await refused.write(bytes.subarray(0, 1000));
      await expectCode(refused.commit({ digest }), Code.FailedPrecondition);
      await using writer = await subject.store.writer("refused");
      expect((await writer.status()).offset).toBe(1000);
      await writer.write(bytes.subarray(1000));
      await writer.commit({ digest, size: bytes.length });
      expect(await readAll(subject, digest)).toEqual(bytes);
    },
  },
  {
    name: "commit refuses a wrong digest and stores nothing",
    async run(subject) {
      const { bytes, digest } = sample();
      const writer = await subject.store.writer("digest");
      await writer.write(bytes);
      await expectCode(writer.commit({ digest: missing }), Code.FailedPrecondition);
      await expectCode(subject.store.info(missing), Code.NotFound);
      await expectCode(subject.store.info(digest), Code.NotFound);
    },
  },
  {
    name: "commit of a stored blob answers already_exists and drops the ingest",
    async run(subject) {
      const { bytes, digest } = await store(subject);
      const writer = await subject.store.writer("again");
      await writer.write(bytes);
      await expectCode(writer.commit({ digest }), Code.AlreadyExists);
      await expectCode(subject.store.status("again"), Code.NotFound);
      expect(await readAll(subject, digest)).toEqual(bytes);
    },
  },
  {
    name: "commit of other bytes as a stored blob is refused",
    async run(subject) {
      const { digest } = await store(subject);
      const writer = await subject.store.writer("pretended");
      await writer.write(sample().bytes);
      await expectCode(writer.commit({ digest }), Code.FailedPrecondition);
    },
  },
  {
    name: "of two writers of one blob exactly one commits",
    async run(subject) {
      const { bytes, digest } = sample();
      const writers = await Promise.all(["one", "two"].map((ref) => subject.store.writer(ref)));
      await Promise.all(writers.map((writer) => writer.write(bytes)));
      const outcomes = await Promise.allSettled(writers.map((writer) => writer.commit({ digest })));
      expect(outcomes.map(({ status }) => status).toSorted()).toEqual(["fulfilled", "rejected"]);
      expect(await readAll(subject, digest)).toEqual(bytes);
    },
  },
  ...(["sha384", "sha512"] as const).map((algorithm) => ({
    name: `${algorithm} blobs are verified and stored under their digest`,
    async run(subject: ContentSubject) {
      const { bytes } = sample();
      const digest = formatDigest(algorithm, createHash(algorithm).update(bytes).digest("hex"));
      for (const expected of [digest, undefined]) {
        await using writer = await subject.store.writer(algorithm, expected === undefined ? {} : { expected });
        await writer.write(bytes);
        await writer.commit({ digest, size: bytes.length });
        expect(await readAll(subject, digest)).toEqual(bytes);
        await subject.store.delete(digest);
      }
    },
  })),
  ...(["sha384", "sha512"] as const).map((algorithm) => ({
    name: `${algorithm} digests that are not those of the bytes are refused`,
    async run(subject: ContentSubject) {
      const [{ bytes }, other] = [sample(), sample()];
      const digest = formatDigest(algorithm, createHash(algorithm).update(other.bytes).digest("hex"));
      for (const expected of [digest, undefined]) {
        const writer = await subject.store.writer(algorithm, expected === undefined ? {} : { expected });
        await writer.truncate(0);
        await writer.write(bytes);
        await expectCode(writer.commit({ digest }), Code.FailedPrecondition);
        await expectCode(subject.store.info(digest), Code.NotFound);
      }
    },
  })),
  {
    name: "one write may be larger than any message",
    async run(subject) {
      const { bytes, digest } = sample(17 * 1024 * 1024 + 1);
      await using writer = await subject.store.writer("large");
      await writer.write(bytes);
      expect((await writer.commit({ digest, size: bytes.length })).size).toBe(bytes.length);
      expect(sha256(await readAll(subject, digest))).toBe(digest);
    },
  },
  {
    name: "reader reads ranges, fewer bytes at the end and none past it",
    async run(subject) {
      const { bytes, digest } = await store(subject, sample(1000));
      await using reader = await subject.store.reader(digest);
      expect(reader.size).toBe(1000);
      expect(await reader.readAt(100, 50)).toEqual(bytes.subarray(100, 150));
      expect(await reader.readAt(990, 50)).toEqual(bytes.subarray(990));
      expect(await reader.readAt(1000, 50)).toHaveLength(0);
      expect(await reader.readAt(5000, 50)).toHaveLength(0);
      const both = await Promise.all([reader.readAt(0, 500), reader.readAt(500, 500)]);
      expect(both).toEqual([bytes.subarray(0, 500), bytes.subarray(500)]);
      for (const room of [40, 50, 1500]) {
        expect(await reader.readAt(100, 50, { into: new Uint8Array(room) })).toEqual(bytes.subarray(100, 150));
      }
    },
  },
  {
    name: "streamBlob and writeBlob carry a blob over",
    async run(subject) {
      const { bytes, digest } = await store(subject, sample(2_500_000));
      const chunks = await Array.fromAsync(streamBlob(subject.store, digest, { offset: 10 }));
      expect(Buffer.concat(chunks).equals(bytes.subarray(10))).toBe(true);
      const copies: Uint8Array[] = [];
      for await (const chunk of streamBlob(subject.store, digest, { offset: 10, reuse: true }))
        copies.push(chunk.slice());
      expect(Buffer.concat(copies).equals(bytes.subarray(10))).toBe(true);
      const other = sample(2_500_000);
      const pieces = [other.bytes.subarray(0, 7), other.bytes.subarray(7)];
      const descriptor = { digest: other.digest, size: other.bytes.length };
      await writeBlob(subject.store, "carried", pieces, descriptor);
      await writeBlob(subject.store, "carried", pieces, descriptor);
      expect(sha256(await readAll(subject, other.digest))).toBe(other.digest);
    },
  },
  {
    name: "unknown digests are not found",
    async run({ store: content }) {
      await expectCode(content.info(missing), Code.NotFound);
      await expectCode(content.reader(missing), Code.NotFound);
      await expectCode(content.delete(missing), Code.NotFound);
      await expectCode(content.update({ digest: missing, labels: new Map() }), Code.NotFound);
    },
  },
  {
    name: "delete removes a blob for those who come later",
    async run(subject) {
      const { digest } = await store(subject);
      await subject.store.delete(digest);
      await expectCode(subject.store.info(digest), Code.NotFound);
      await expectCode(subject.store.reader(digest), Code.NotFound);
      await store(subject);
    },
  },
  {
    name: "list is in order of the digests and filters by digest and size",
    async run(subject) {
      const stored = await Promise.all([10, 20, 30, 40].map((size) => store(subject, sample(size))));
      const digests = stored.map(({ digest }) => digest).toSorted();
      const listed = await Array.fromAsync(subject.store.list());
      expect(listed.map(({ digest }) => digest)).toEqual(digests);
      const bySize = await Array.fromAsync(subject.store.list({ filters: ["size==20"] }));
      expect(bySize.map(({ digest }) => digest)).toEqual([stored[1]?.digest]);
      const byDigest = await Array.fromAsync(subject.store.list({ filters: [`digest==${digests[2]}`] }));
      expect(byDigest.map(({ digest }) => digest)).toEqual([digests[2]]);
      await expectCode(Array.fromAsync(subject.store.list({ filters: ["size=="] })), Code.InvalidArgument);
    },
  },
];
