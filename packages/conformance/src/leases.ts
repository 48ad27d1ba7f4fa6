import type { LeaseManager, LeaseResource } from "@berth/core/leases";
import { Code } from "@berth/errors";
import { expect } from "vitest";

import { expectCode } from "./expect-code.ts";
import type { ConformanceCase } from "./run-conformance.ts";

/** A lease manager under test, empty. */
export interface LeaseSubject extends AsyncDisposable {
  readonly leases: LeaseManager;
}

const digest = `sha256:${"a".repeat(64)}`;

async function resources(leases: LeaseManager, id: string): Promise<string[]> {
  return (await Array.fromAsync(leases.listResources(id))).map((each) => `${each.type} ${each.id}`).toSorted();
}

/** What every lease manager does. */
export const leaseCases: readonly ConformanceCase<LeaseSubject>[] = [
  {
    name: "create returns what list returns, and refuses an id that is taken",
    async run({ leases }) {
      const labels = new Map([["__proto__", "x"]]);
      const created = await leases.create({ id: "123-Ab_-", labels });
      expect(created).toMatchObject({ id: "123-Ab_-", labels });
      expect(await Array.fromAsync(leases.list())).toEqual([created]);
      await expectCode(leases.create({ id: "123-Ab_-", labels: new Map() }), Code.AlreadyExists);
    },
  },
  {
    name: "create refuses labels over the limit",
    async run({ leases }) {
      const labels = new Map([["k", "v".repeat(4096)]]);
      await expectCode(leases.create({ id: "a", labels }), Code.InvalidArgument);
    },
  },
  {
    name: "list is in order of the id and filters by id and labels",
    async run({ leases }) {
      await leases.create({ id: "b", labels: new Map([["k.l", "v"]]) });
      await leases.create({ id: "a", labels: new Map() });
      const ids = async (...filters: string[]) => (await Array.fromAsync(leases.list({ filters }))).map(({ id }) => id);
      expect(await ids()).toEqual(["a", "b"]);
      expect(await ids("id==a")).toEqual(["a"]);
      expect(await ids('labels."k.l"==v')).toEqual(["b"]);
      await expectCode(ids("id="), Code.InvalidArgument);
    },
  },
  {
    name: "everything about an unknown lease is not_found",
    async run({ leases }) {
      const resource = { id: digest, type: "content" };
      await expectCode(leases.delete("a"), Code.NotFound);
      await expectCode(leases.addResource("a", resource), Code.NotFound);
      await expectCode(leases.deleteResource("a", resource), Code.NotFound);
      await expectCode(resources(leases, "a"), Code.NotFound);
    },
  },
  {
    name: "resources are added once, listed and removed, whether what they name exists or not",
    async run({ leases }) {
      await leases.create({ id: "a", labels: new Map() });
      const all: LeaseResource[] = [
        { id: digest, type: "content" },
        { id: "ref/with:anything", type: "ingests" },
        { id: "docker.io/library/x:1", type: "images" },
        { id: "key", type: "snapshots/overlayfs" },
        { id: "key", type: "snapshots/native" },
      ];
      for (const resource of [...all, ...all]) await leases.addResource("a", resource);
      const texts = all.map(({ id, type }) => `${type} ${id}`).toSorted();
      expect(await resources(leases, "a")).toEqual(texts);
      await leases.deleteResource("a", { id: "key", type: "snapshots/native" });
      await leases.deleteResource("a", { id: "key", type: "snapshots/native" });
      expect(await resources(leases, "a")).toEqual(texts.filter((text) => text !== "snapshots/native key"));
    },
  },
  {
    name: "resources of an unknown type are unimplemented, malformed ones invalid_argument",
    async run({ leases }) {
      await leases.create({ id: "a", labels: new Map() });
      const wrong: [type: string, id: string, code: number][] = [
        ["containers", "c", Code.Unimplemented],
        ["", "c", Code.Unimplemented],
        ["content/x", digest, Code.InvalidArgument],
        ["content", "sha256:abc", Code.InvalidArgument],
        ["images/x", "i", Code.InvalidArgument],
        ["snapshots", "k", Code.InvalidArgument],
        ["snapshots/a/b", "k", Code.InvalidArgument],
      ];
      for (const [type, id, code] of wrong) {
        await expectCode(leases.addResource("a", { type, id }), code);
        await expectCode(leases.deleteResource("a", { type, id }), code);
      }
      expect(await resources(leases, "a")).toEqual([]);
    },
  },
  {
    name: "delete removes the lease with its resources",
    async run({ leases }) {
      await leases.create({ id: "a", labels: new Map() });
      await leases.create({ id: "ab", labels: new Map() });
      for (const id of ["a", "ab"]) await leases.addResource(id, { id: "i", type: "images" });
      await leases.delete("a");
      await leases.create({ id: "a", labels: new Map() });
      expect(await resources(leases, "a")).toEqual([]);
      expect(await resources(leases, "ab")).toEqual(["images i"]);
    },
  },
  {
    name: "delete with sync returns",
    async run({ leases }) {
      await leases.create({ id: "a", labels: new Map() });
      await leases.delete("a", { sync: true });
      expect(await Array.fromAsync(leases.list())).toEqual([]);
    },
  },
];
