import type { SandboxSpec, SandboxStore } from "@berth/core/sandboxes";
import { Code } from "@berth/errors";
import { expect } from "vitest";

import { expectCode } from "./expect-code.ts";
import type { ConformanceCase } from "./run-conformance.ts";

/** A store of sandboxes under test, empty. */
export interface SandboxSubject extends AsyncDisposable {
  readonly sandboxes: SandboxStore;
}

const any = (typeUrl: string, text = typeUrl) => ({ typeUrl, value: new Uint8Array(new TextEncoder().encode(text)) });

function spec(id: string, change: Partial<SandboxSpec> = {}): SandboxSpec {
  return { id, labels: new Map(), runtime: { name: "runc" }, sandboxer: "", extensions: new Map(), ...change };
}

async function ids(sandboxes: SandboxStore, filters: readonly string[] = []): Promise<string[]> {
  return (await Array.fromAsync(sandboxes.list({ filters }))).map(({ id }) => id);
}

/** What every store of sandboxes does. */
export const sandboxCases: readonly ConformanceCase<SandboxSubject>[] = [
  {
    name: "create returns what get and list return",
    async run({ sandboxes }) {
      const full = spec("s1", {
        labels: new Map([["__proto__", "x"]]),
        runtime: { name: "r", options: any("containerd.runc.v1.Options") },
        spec: any("types.containerd.io/opencontainers/runtime-spec/1/Spec", "{}"),
        sandboxer: "shim",
        extensions: new Map([["__proto__", any("e")]]),
      });
      const created = await sandboxes.create(full);
      const { createdAt, updatedAt, ...rest } = created;
      expect(rest).toEqual(full);
      expect(createdAt).toBe(updatedAt);
      expect(Math.abs(createdAt - Date.now())).toBeLessThan(60_000);
      expect(await sandboxes.get("s1")).toEqual(created);
      expect(await Array.fromAsync(sandboxes.list())).toEqual([created]);
    },
  },
  {
    name: "create refuses an id that is taken, or is no identifier, and labels over the limit",
    async run({ sandboxes }) {
      await sandboxes.create(spec("a", { sandboxer: "first" }));
      await expectCode(sandboxes.create(spec("a", { sandboxer: "second" })), Code.AlreadyExists);
      expect((await sandboxes.get("a")).sandboxer).toBe("first");
      for (const id of ["", "a/b", "-a", "a".repeat(77)]) {
        await expectCode(sandboxes.create(spec(id)), Code.InvalidArgument);
      }
      const labels = new Map([["k", "v".repeat(4096)]]);
      await expectCode(sandboxes.create(spec("b", { labels })), Code.InvalidArgument);
      expect(await ids(sandboxes)).toEqual(["a"]);
    },
  },
  {
    name: "get, update and delete of an unknown sandbox are not_found",
    async run({ sandboxes }) {
      await expectCode(sandboxes.get("a"), Code.NotFound);
      await expectCode(sandboxes.update(spec("a")), Code.NotFound);
      await expectCode(sandboxes.delete("a"), Code.NotFound);
    },
  },
  {
    name: "list is in order of the id and filters by id and labels",
    async run({ sandboxes }) {
      await sandboxes.create(spec("b", { labels: new Map([["k.l", "v"]]) }));
      await sandboxes.create(spec("a"));
      expect(await ids(sandboxes)).toEqual(["a", "b"]);
      expect(await ids(sandboxes, ["id==b"])).toEqual(["b"]);
      expect(await ids(sandboxes, ['labels."k.l"==v', "id==c"])).toEqual(["b"]);
      expect(await ids(sandboxes, ["sandboxer"])).toEqual([]);
      await expectCode(ids(sandboxes, ["id~=("]), Code.InvalidArgument);
    },
  },
  {
    name: "update without fields replaces the record, but not the name of the runtime nor the sandboxer",
    async run({ sandboxes }) {
      const created = await sandboxes.create(
        spec("a", { labels: new Map([["old", "1"]]), spec: any("s", "1"), sandboxer: "shim" }),
      );
      const change = spec("a", {
        labels: new Map([["new", "1"]]),
        runtime: { name: "runc", options: any("o") },
        sandboxer: "other",
      });
      const updated = await sandboxes.update(change);
      expect(updated).toMatchObject({ sandboxer: "shim", createdAt: created.createdAt, runtime: change.runtime });
      expect(updated.labels).toEqual(change.labels);
      await expectCode(sandboxes.update(spec("a", { runtime: { name: "other" } })), Code.InvalidArgument);
      expect((await sandboxes.get("a")).labels).toEqual(change.labels);
    },
  },
  {
    name: "update changes only the fields that are named",
    async run({ sandboxes }) {
      const labels = new Map([
        ["x", "1"],
        ["keep", "1"],
      ]);
      await sandboxes.create(spec("a", { labels }));
      const change = spec("a", {
        labels: new Map([
          ["x", ""],
          ["y.z", "2"],
        ]),
        runtime: { name: "other" },
        spec: any("s"),
        sandboxer: "shim",
      });
      const update = (...fieldpaths: string[]) => sandboxes.update(change, { fieldpaths });
      expect((await update("labels.y.z")).labels.get("y.z")).toBe("2");
      expect([...(await update("labels.x")).labels.keys()].toSorted()).toEqual(["keep", "y.z"]);
      expect(await update("spec")).toMatchObject({ spec: any("s"), runtime: { name: "runc" } });
      expect(await update("runtime")).toMatchObject({ runtime: { name: "other" }, sandboxer: "" });
      expect((await update("labels")).labels).toEqual(new Map([["y.z", "2"]]));
      for (const path of ["sandboxer", "id", "created_at", "Labels"]) {
        await expectCode(update(path), Code.InvalidArgument);
      }
    },
  },
  {
    name: "update adds to extensions and never takes one away",
    async run({ sandboxes }) {
      await sandboxes.create(spec("a", { extensions: new Map([["one", any("1")]]) }));
      const more = spec("a", {
        extensions: new Map([
          ["two.a", any("2")],
          ["three", any("3")],
        ]),
      });
      await sandboxes.update(more, { fieldpaths: ["extensions.two.a"] });
      expect([...(await sandboxes.get("a")).extensions.keys()].toSorted()).toEqual(["one", "two.a"]);
      await sandboxes.update(spec("a"));
      expect([...(await sandboxes.get("a")).extensions.keys()].toSorted()).toEqual(["one", "two.a"]);
    },
  },
  {
    name: "delete removes, and the id is free again",
    async run({ sandboxes }) {
      await sandboxes.create(spec("a"));
      await sandboxes.delete("a");
      await expectCode(sandboxes.get("a"), Code.NotFound);
      await sandboxes.create(spec("a"));
    },
  },
];
