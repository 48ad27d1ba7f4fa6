import type { ContainerSpec, ContainerStore } from "@berth/core/containers";
import { Code } from "@berth/errors";
import { expect } from "vitest";

import { expectCode } from "./expect-code.ts";
import type { ConformanceCase } from "./run-conformance.ts";

/** A container store under test, empty. */
export interface ContainerSubject extends AsyncDisposable {
  readonly containers: ContainerStore;
}

const any = (typeUrl: string, text = typeUrl) => ({ typeUrl, value: new Uint8Array(new TextEncoder().encode(text)) });

function spec(id: string, change: Partial<ContainerSpec> = {}): ContainerSpec {
  return {
    id,
    labels: new Map(),
    image: "",
    runtime: { name: "io.containerd.runc.v2" },
    spec: any("types.containerd.io/opencontainers/runtime-spec/1/Spec", "{}"),
    snapshotter: "",
    snapshotKey: "",
    extensions: new Map(),
    sandboxId: "",
    ...change,
  };
}

async function ids(containers: ContainerStore, filters: readonly string[] = []): Promise<string[]> {
  return (await Array.fromAsync(containers.list({ filters }))).map(({ id }) => id);
}

/** What every container store does. */
export const containerCases: readonly ConformanceCase<ContainerSubject>[] = [
  {
    name: "create returns what get and list return",
    async run({ containers }) {
      const full = spec("c1", {
        labels: new Map([["__proto__", "x"]]),
        image: "docker.io/library/x:1",
        runtime: { name: "r", options: any("containerd.runc.v1.Options") },
        snapshotter: "overlayfs",
        snapshotKey: "c1",
        extensions: new Map([["__proto__", any("e")]]),
        sandboxId: "s1",
      });
      const created = await containers.create(full);
      expect(created).toMatchObject({ id: "c1", image: full.image, snapshotKey: "c1", sandboxId: "s1" });
      expect(created.createdAt).toBe(created.updatedAt);
      expect(created.labels).toEqual(full.labels);
      expect(created.extensions).toEqual(full.extensions);
      expect(created.runtime).toEqual(full.runtime);
      expect(created.spec).toEqual(full.spec);
      expect(await containers.get("c1")).toEqual(created);
      expect(await Array.fromAsync(containers.list())).toEqual([created]);
    },
  },
  {
    name: "create refuses an id that is taken",
    async run({ containers }) {
      await containers.create(spec("a", { image: "first" }));
      await expectCode(containers.create(spec("a", { image: "second" })), Code.AlreadyExists);
      expect((await containers.get("a")).image).toBe("first");
    },
  },
  {
    name: "create refuses what cannot be run",
    async run({ containers }) {
      const { spec: _, ...withoutSpec } = spec("a");
      const wrong: ContainerSpec[] = [
        spec(""),
        spec("a/b"),
        spec("-a"),
        spec("a".repeat(77)),
        spec("a", { runtime: { name: "" } }),
        withoutSpec,
        spec("a", { snapshotKey: "k" }),
        spec("a", { labels: new Map([["k", "v".repeat(4096)]]) }),
        spec("a", { extensions: new Map([["", any("e")]]) }),
      ];
      for (const each of wrong) await expectCode(containers.create(each), Code.InvalidArgument);
      expect(await ids(containers)).toEqual([]);
    },
  },
  {
    name: "get, update and delete of an unknown container are not_found",
    async run({ containers }) {
      await expectCode(containers.get("a"), Code.NotFound);
      await expectCode(containers.update(spec("a")), Code.NotFound);
      await expectCode(containers.delete("a"), Code.NotFound);
    },
  },
  {
    name: "list is in order of the id and filters by id, runtime, image and labels",
    async run({ containers }) {
      await containers.create(spec("b", { image: "img", labels: new Map([["k.l", "v"]]) }));
      await containers.create(spec("a", { runtime: { name: "other" } }));
      expect(await ids(containers)).toEqual(["a", "b"]);
      expect(await ids(containers, ["id==b"])).toEqual(["b"]);
      expect(await ids(containers, ["runtime.name==other"])).toEqual(["a"]);
      expect(await ids(containers, ["image~=^im"])).toEqual(["b"]);
      expect(await ids(containers, ['labels."k.l"==v'])).toEqual(["b"]);
      await expectCode(ids(containers, ["id~=("]), Code.InvalidArgument);
    },
  },
  {
    name: "update without field paths replaces the record, but neither runtime nor snapshotter",
    async run({ containers }) {
      const created = await containers.create(spec("a", { labels: new Map([["old", "1"]]), snapshotter: "s" }));
      const change = spec("a", { image: "new", snapshotter: "s", snapshotKey: "k", labels: new Map([["new", "1"]]) });
      const updated = await containers.update(change);
      expect(updated).toMatchObject({ image: "new", snapshotKey: "k", createdAt: created.createdAt });
      expect(updated.labels).toEqual(change.labels);
      await expectCode(containers.update({ ...change, runtime: { name: "other" } }), Code.InvalidArgument);
      await expectCode(containers.update({ ...change, snapshotter: "t" }), Code.InvalidArgument);
      expect(await containers.get("a")).toEqual(updated);
    },
  },
  {
    name: "update changes only the fields of its paths",
    async run({ containers }) {
      await containers.create(spec("a", { labels: new Map([["x", "1"]]), snapshotter: "s" }));
      const change = spec("a", {
        image: "i",
        snapshotKey: "k",
        labels: new Map([
          ["x", ""],
          ["y.z", "2"],
        ]),
        spec: any("other"),
      });
      const update = (...fieldpaths: string[]) => containers.update(change, { fieldpaths });
      expect(await update("image")).toMatchObject({ image: "i", snapshotKey: "" });
      expect(await update("snapshotkey")).toMatchObject({ snapshotKey: "k" });
      expect((await update("labels.y.z")).labels.get("y.z")).toBe("2");
      expect((await update("labels.x")).labels).toEqual(new Map([["y.z", "2"]]));
      expect((await update("spec")).spec).toEqual(any("other"));
      for (const path of ["snapshot_key", "id", "runtime", "snapshotter", "sandbox"]) {
        await expectCode(update(path), Code.InvalidArgument);
      }
    },
  },
  {
    name: "update adds to extensions and never takes one away",
    async run({ containers }) {
      await containers.create(spec("a", { extensions: new Map([["one", any("1")]]) }));
      const more = spec("a", {
        extensions: new Map([
          ["two", any("2")],
          ["three", any("3")],
        ]),
      });
      const two = await containers.update(more, { fieldpaths: ["extensions.two"] });
      expect([...two.extensions.keys()].toSorted()).toEqual(["one", "two"]);
      const none = await containers.update(spec("a"), { fieldpaths: ["extensions"] });
      expect([...none.extensions.keys()].toSorted()).toEqual(["one", "two"]);
      const all = await containers.update(more);
      expect([...all.extensions.keys()].toSorted()).toEqual(["one", "three", "two"]);
    },
  },
  {
    name: "delete removes, and the id is free again",
    async run({ containers }) {
      await containers.create(spec("a"));
      await containers.delete("a");
      await expectCode(containers.get("a"), Code.NotFound);
      await containers.create(spec("a"));
    },
  },
];
