import { setTimeout } from "node:timers/promises";

import type { Labels } from "@berth/core/labels";
import { Code } from "@berth/errors";
import { expect } from "vitest";

import { expectCode } from "./expect-code.ts";
import { type ContentSubject, sample, store } from "./content-subject.ts";
import type { ConformanceCase } from "./run-conformance.ts";

const labels = (entries: Record<string, string>): Labels => new Map(Object.entries(entries));

/** Rules of stores that keep labels. */
export const contentLabelCases: readonly ConformanceCase<ContentSubject>[] = [
  {
    name: "commit stores labels and list filters by them",
    async run(subject) {
      const { bytes, digest } = sample();
      await store(subject);
      await using writer = await subject.store.writer("labelled");
      await writer.write(bytes);
      const wanted = new Map([
        ["containerd.io/x.y", "1"],
        ["__proto__", "2"],
      ]);
      await writer.commit({ digest, labels: wanted });
      expect((await subject.store.info(digest)).labels).toEqual(wanted);
      const found = await Array.fromAsync(subject.store.list({ filters: ['labels."containerd.io/x.y"==1'] }));
      expect(found.map((info) => info.digest)).toEqual([digest]);
    },
  },
  {
    name: "update replaces all labels, or those of the field paths; an empty value deletes",
    async run(subject) {
      const { digest } = await store(subject);
      const content = subject.store;
      await content.update({ digest, labels: labels({ a: "1", b: "2", "c.d": "3" }) });
      await content.update({ digest, labels: labels({ a: "9", "c.d": "4", z: "0" }) }, { fieldpaths: ["labels.c.d"] });
      expect((await content.info(digest)).labels).toEqual(labels({ a: "1", b: "2", "c.d": "4" }));
      await content.update({ digest, labels: labels({ a: "" }) }, { fieldpaths: ["labels.a"] });
      expect((await content.info(digest)).labels).toEqual(labels({ b: "2", "c.d": "4" }));
      const info = await content.update({ digest, labels: labels({ only: "1" }) }, { fieldpaths: ["labels"] });
      expect(info.labels).toEqual(labels({ only: "1" }));
    },
  },
  {
    name: "commit refuses labels that are too large and stores nothing",
    async run(subject) {
      const { bytes, digest } = sample();
      await using writer = await subject.store.writer("labels");
      await writer.write(bytes);
      await expectCode(writer.commit({ digest, labels: labels({ a: "x".repeat(4096) }) }), Code.InvalidArgument);
      await expectCode(subject.store.info(digest), Code.NotFound);
      await using _free = await subject.store.writer("labels");
    },
  },
  {
    name: "update keeps size and time of creation and moves the time of the change",
    async run(subject) {
      const { digest } = await store(subject);
      const before = await subject.store.info(digest);
      await setTimeout(20);
      const after = await subject.store.update({ digest, labels: labels({ a: "1" }) });
      expect(after).toMatchObject({ digest, size: before.size, createdAt: before.createdAt });
      expect(after.updatedAt).toBeGreaterThan(before.updatedAt);
      expect(await subject.store.info(digest)).toEqual(after);
    },
  },
  {
    name: "update refuses other field paths and labels that are too large",
    async run(subject) {
      const { digest } = await store(subject);
      const change = { digest, labels: labels({ a: "1" }) };
      await expectCode(subject.store.update(change, { fieldpaths: ["size"] }), Code.InvalidArgument);
      const large = { digest, labels: labels({ a: "x".repeat(5000) }) };
      await expectCode(subject.store.update(large), Code.InvalidArgument);
      expect((await subject.store.info(digest)).labels).toEqual(labels({}));
    },
  },
];
