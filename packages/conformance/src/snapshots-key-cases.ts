import { Code } from "@berth/errors";
import { expect } from "vitest";

import { expectCode } from "./expect-code.ts";
import type { ConformanceCase } from "./run-conformance.ts";
import { commitLayer, listNames, type SnapshotSubject } from "./snapshots-subject.ts";

const labels = (entries: Record<string, string>): ReadonlyMap<string, string> => new Map(Object.entries(entries));

/** Rules of keys, kinds, parents and labels. */
export const snapshotKeyCases: readonly ConformanceCase<SnapshotSubject>[] = [
  {
    name: "stat tells kind, parent, labels and times of a new snapshot",
    async run(subject) {
      const before = Date.now() - 1;
      await commitLayer(subject, "base", "");
      await subject.snapshotter.prepare("work", "base", { labels: labels({ "containerd.io/snapshot/a.b": "c" }) });
      const info = await subject.snapshotter.stat("work");
      expect(info).toMatchObject({ kind: "active", name: "work", parent: "base" });
      expect(info.labels.get("containerd.io/snapshot/a.b")).toBe("c");
      expect(info.createdAt).toBeGreaterThanOrEqual(before);
      await subject.snapshotter.view("look", "base");
      expect(await subject.snapshotter.stat("look")).toMatchObject({ kind: "view", name: "look", parent: "base" });
      expect(await subject.snapshotter.stat("base")).toMatchObject({ kind: "committed", name: "base", parent: "" });
    },
  },
  {
    name: "commit frees the key, takes the name and replaces the labels",
    async run({ snapshotter }) {
      await snapshotter.prepare("key", "", { labels: labels({ "containerd.io/snapshot/old": "1" }) });
      await snapshotter.commit("name", "key", { labels: labels({ "containerd.io/snapshot/new": "2" }) });
      await expectCode(snapshotter.stat("key"), Code.NotFound);
      expect((await snapshotter.stat("name")).labels).toEqual(labels({ "containerd.io/snapshot/new": "2" }));
      await snapshotter.prepare("key", "name");
    },
  },
  {
    name: "a key that is taken is refused, whatever took it",
    async run(subject) {
      const { snapshotter } = subject;
      await commitLayer(subject, "base", "");
      await snapshotter.prepare("taken", "");
      for (const key of ["taken", "base"]) {
        await expectCode(snapshotter.prepare(key, ""), Code.AlreadyExists);
        await expectCode(snapshotter.view(key, "base"), Code.AlreadyExists);
        await expectCode(snapshotter.commit(key, "taken"), Code.AlreadyExists);
      }
      expect(await snapshotter.stat("taken")).toMatchObject({ kind: "active" });
    },
  },
  {
    name: "of many that prepare one key exactly one succeeds",
    async run({ snapshotter }) {
      const outcomes = await Promise.allSettled(Array.from({ length: 20 }, () => snapshotter.prepare("wanted", "")));
      expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    },
  },
  {
    name: "a parent must exist and be committed",
    async run({ snapshotter }) {
      await expectCode(snapshotter.prepare("a", "nobody"), Code.NotFound);
      await expectCode(snapshotter.view("a", "nobody"), Code.NotFound);
      await snapshotter.prepare("active", "");
      await expectCode(snapshotter.prepare("a", "active"), Code.InvalidArgument);
      await expectCode(snapshotter.view("a", "active"), Code.InvalidArgument);
      await expectCode(snapshotter.stat("a"), Code.NotFound);
    },
  },
  {
    name: "only an active snapshot can be committed",
    async run(subject) {
      const { snapshotter } = subject;
      await commitLayer(subject, "base", "");
      await snapshotter.view("look", "base");
      await expectCode(snapshotter.commit("name", "look"), Code.FailedPrecondition);
      await expectCode(snapshotter.commit("name", "base"), Code.FailedPrecondition);
      await expectCode(snapshotter.commit("name", "nobody"), Code.NotFound);
    },
  },
  {
    name: "a committed snapshot has no mounts, an unknown one is not found",
    async run(subject) {
      const { snapshotter } = subject;
      await commitLayer(subject, "base", "");
      await expectCode(snapshotter.mounts("base"), Code.FailedPrecondition);
      // One after the other: a call that fails while nobody waits for it yet would end a program.
      await expectCode(snapshotter.mounts("nobody"), Code.NotFound);
      await expectCode(snapshotter.stat("nobody"), Code.NotFound);
      await expectCode(snapshotter.usage("nobody"), Code.NotFound);
      await expectCode(snapshotter.remove("nobody"), Code.NotFound);
      await expectCode(snapshotter.update({ name: "nobody", labels: labels({}) }), Code.NotFound);
    },
  },
  {
    name: "mounts answers what prepare and view answered",
    async run(subject) {
      const { snapshotter } = subject;
      await commitLayer(subject, "base", "");
      await commitLayer(subject, "next", "base");
      for (const parent of ["", "base", "next"]) {
        expect(await snapshotter.prepare(`p${parent}`, parent)).toEqual(await snapshotter.mounts(`p${parent}`));
        expect(await snapshotter.view(`v${parent}`, parent)).toEqual(await snapshotter.mounts(`v${parent}`));
      }
    },
  },
  {
    name: "a snapshot with children cannot be removed, and can when they are gone",
    async run(subject) {
      const { snapshotter } = subject;
      await commitLayer(subject, "base", "");
      await commitLayer(subject, "next", "base");
      await snapshotter.view("look", "next");
      await expectCode(snapshotter.remove("base"), Code.FailedPrecondition);
      await expectCode(snapshotter.remove("next"), Code.FailedPrecondition);
      for (const name of ["look", "next", "base"]) await snapshotter.remove(name);
      expect(await listNames(subject)).toEqual([]);
      await snapshotter.prepare("base", "");
    },
  },
  {
    name: "list knows every snapshot and filters by kind, name, parent and labels",
    async run(subject) {
      const { snapshotter } = subject;
      await commitLayer(subject, "base", "");
      await snapshotter.prepare("work", "base", { labels: labels({ "containerd.io/snapshot/x": "1" }) });
      await snapshotter.view("look", "base");
      expect((await listNames(subject)).toSorted()).toEqual(["base", "look", "work"]);
      expect(await listNames(subject, ["kind==view"])).toEqual(["look"]);
      expect((await listNames(subject, ["kind==committed", "name==work"])).toSorted()).toEqual(["base", "work"]);
      expect((await listNames(subject, ["parent==base"])).toSorted()).toEqual(["look", "work"]);
      expect(await listNames(subject, ['labels."containerd.io/snapshot/x"==1'])).toEqual(["work"]);
      await expectCode(listNames(subject, ["kind?x"]), Code.InvalidArgument);
    },
  },
  {
    name: "a list survives changes made while it runs",
    async run(subject) {
      for (const name of ["a", "b", "c"]) await commitLayer(subject, name, "");
      for await (const { name } of subject.snapshotter.list()) await subject.snapshotter.remove(name);
      expect(await listNames(subject)).toEqual([]);
    },
  },
  {
    name: "update replaces all labels, or those of the field paths; an empty value deletes",
    async run({ snapshotter }) {
      const [a, b, c] = ["a", "b", "c.d"].map((name) => `containerd.io/snapshot/${name}`) as [string, string, string];
      await snapshotter.prepare("key", "", { labels: labels({ [a]: "1", [b]: "2" }) });
      const change = { name: "key", labels: labels({ [a]: "", [c]: "3", [b]: "9" }) };
      const info = await snapshotter.update(change, { fieldpaths: [`labels.${a}`, `labels.${c}`] });
      expect(info.labels).toEqual(labels({ [b]: "2", [c]: "3" }));
      expect((await snapshotter.stat("key")).labels).toEqual(info.labels);
      await snapshotter.update({ name: "key", labels: labels({ [a]: "4" }) });
      expect((await snapshotter.stat("key")).labels).toEqual(labels({ [a]: "4" }));
      await expectCode(snapshotter.update(change, { fieldpaths: ["parent"] }), Code.InvalidArgument);
    },
  },
  {
    name: "labels that are too large are refused and nothing is made",
    async run({ snapshotter }) {
      const large = labels({ "containerd.io/snapshot/large": "x".repeat(5000) });
      await expectCode(snapshotter.prepare("key", "", { labels: large }), Code.InvalidArgument);
      await expectCode(snapshotter.stat("key"), Code.NotFound);
    },
  },
  {
    name: "keys are opaque: separators, dots, spaces, length",
    async run(subject) {
      const keys = ["../up", "a/b/c", "x y\n", "ü😀", "k".repeat(3000), `${"k".repeat(3000)}2`];
      for (const key of keys) await subject.snapshotter.prepare(key, "");
      expect((await listNames(subject)).toSorted()).toEqual(keys.toSorted());
      for (const key of keys) await subject.snapshotter.commit(`${key}!`, key);
      for (const key of keys) await subject.snapshotter.remove(`${key}!`);
      expect(await listNames(subject)).toEqual([]);
    },
  },
  {
    name: "commit may name the parent there is; another one is refused",
    async run(subject) {
      const { snapshotter } = subject;
      await commitLayer(subject, "one", "");
      await commitLayer(subject, "two", "");
      await snapshotter.prepare("work", "one");
      await expectCode(snapshotter.commit("name", "work", { parent: "two" }), Code.InvalidArgument);
      await snapshotter.commit("name", "work", { parent: "one" });
    },
  },
  {
    name: "commit gives a parent to a snapshot that has none, where rebase is supported",
    async run(subject) {
      const { snapshotter } = subject;
      await commitLayer(subject, "base", "");
      await snapshotter.prepare("work", "");
      if (!subject.rebases) {
        await expectCode(snapshotter.commit("name", "work", { parent: "base" }), Code.InvalidArgument);
        return;
      }
      await expectCode(snapshotter.commit("name", "work", { parent: "nobody" }), Code.NotFound);
      await expectCode(snapshotter.commit("name", "work", { parent: "work" }), Code.InvalidArgument);
      await snapshotter.commit("name", "work", { parent: "base" });
      expect(await snapshotter.stat("name")).toMatchObject({ kind: "committed", parent: "base" });
      await expectCode(snapshotter.remove("base"), Code.FailedPrecondition);
      await snapshotter.remove("name");
      await snapshotter.remove("base");
    },
  },
  {
    name: "an aborted signal makes nothing",
    async run(subject) {
      const signal = AbortSignal.abort();
      await expectCode(subject.snapshotter.prepare("key", "", { signal }), Code.Canceled);
      await subject.snapshotter.prepare("key", "");
      await expectCode(subject.snapshotter.commit("name", "key", { signal }), Code.Canceled);
      await expectCode(subject.snapshotter.remove("key", { signal }), Code.Canceled);
      expect(await listNames(subject)).toEqual(["key"]);
    },
  },
];
