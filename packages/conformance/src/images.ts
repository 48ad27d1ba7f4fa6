import type { Image, ImageSpec, ImageStore } from "@berth/core/images";
import { Code } from "@berth/errors";
import { parseDigest } from "@berth/oci";
import { expect } from "vitest";

import { expectCode } from "./expect-code.ts";
import type { ConformanceCase } from "./run-conformance.ts";

/** An image store under test, empty. */
export interface ImageSubject extends AsyncDisposable {
  readonly images: ImageStore;
}

const digestOf = (digit: string) => parseDigest(`sha256:${digit.repeat(64)}`);

function spec(name: string, change: Partial<ImageSpec> = {}): ImageSpec {
  const target = { mediaType: "application/vnd.oci.image.index.v1+json", digest: digestOf("a"), size: 10 };
  return { name, labels: new Map(), target, ...change };
}

async function names(images: ImageStore, filters: readonly string[] = []): Promise<string[]> {
  return (await Array.fromAsync(images.list({ filters }))).map(({ name }) => name);
}

/** What every image store does. */
export const imageCases: readonly ConformanceCase<ImageSubject>[] = [
  {
    name: "create returns what get and list return",
    async run({ images }) {
      const labels = new Map([
        ["a.b/c", "1"],
        ["__proto__", "2"],
      ]);
      const annotations = { "org.x": "y" };
      const target = { ...spec("x").target, annotations };
      const before = Date.now();
      const created = await images.create(spec("docker.io/library/x:1", { labels, target }));
      expect(created).toMatchObject({ name: "docker.io/library/x:1", labels, target });
      expect(created.createdAt).toBeGreaterThanOrEqual(before);
      expect(created.updatedAt).toBe(created.createdAt);
      expect(await images.get(created.name)).toEqual(created);
      expect(await Array.fromAsync(images.list())).toEqual([created]);
    },
  },
  {
    name: "names longer than a database's keys are told apart, to the last character",
    async run({ images }) {
      const long = "x".repeat(5000);
      for (const end of ["1", "2", ""]) await images.create(spec(`${long}${end}`, { labels: new Map([["end", end]]) }));
      await expectCode(images.create(spec(`${long}1`)), Code.AlreadyExists);
      await images.delete(`${long}1`);
      expect(await names(images)).toEqual([long, `${long}2`]);
      expect((await images.get(`${long}2`)).labels.get("end")).toBe("2");
      await images.update(spec(`${long}2`, { labels: new Map([["end", "3"]]) }));
      expect(await names(images, ["labels.end==3"])).toEqual([`${long}2`]);
    },
  },
  {
    name: "create refuses a name that is taken",
    async run({ images }) {
      await images.create(spec("a"));
      await expectCode(images.create(spec("a", { target: { ...spec("a").target, size: 11 } })), Code.AlreadyExists);
      expect((await images.get("a")).target.size).toBe(10);
    },
  },
  {
    name: "create refuses a missing name, size or media type, and labels over the limit",
    async run({ images }) {
      const { target } = spec("a");
      const wrong: ImageSpec[] = [
        spec(""),
        spec("a", { target: { ...target, size: 0 } }),
        spec("a", { target: { ...target, mediaType: "" } }),
        spec("a", { labels: new Map([["k", "v".repeat(4096)]]) }),
      ];
      for (const each of wrong) await expectCode(images.create(each), Code.InvalidArgument);
      expect(await names(images)).toEqual([]);
    },
  },
  {
    name: "get, update and delete of an unknown image are not_found",
    async run({ images }) {
      await expectCode(images.get("a"), Code.NotFound);
      await expectCode(images.update(spec("a")), Code.NotFound);
      await expectCode(images.delete("a"), Code.NotFound);
    },
  },
  {
    name: "list is in byte order of the names",
    async run({ images }) {
      const sorted = ["A", "a", "a-b", "a/b", "b", "\ufffd", "\u{1f600}"];
      for (const name of sorted.toReversed()) await images.create(spec(name));
      expect(await names(images)).toEqual(sorted);
    },
  },
  {
    name: "list filters by name, target, labels and annotations",
    async run({ images }) {
      const target = { mediaType: "m/2", digest: digestOf("b"), size: 1, annotations: { "x.y": "z" } };
      await images.create(spec("one", { labels: new Map([["k.l", "v"]]) }));
      await images.create(spec("two", { target }));
      expect(await names(images, ["name==one"])).toEqual(["one"]);
      expect(await names(images, [`target.digest==${digestOf("b")}`])).toEqual(["two"]);
      expect(await names(images, ["target.mediatype==m/2"])).toEqual(["two"]);
      expect(await names(images, ['labels."k.l"==v'])).toEqual(["one"]);
      expect(await names(images, ['annotations."x.y"==z'])).toEqual(["two"]);
      expect(await names(images, ["name==one", "name==two"])).toEqual(["one", "two"]);
      await expectCode(names(images, ["name=="]), Code.InvalidArgument);
    },
  },
  {
    name: "update without field paths replaces all but the time of creation",
    async run({ images }) {
      const created = await images.create(spec("a", { labels: new Map([["old", "1"]]) }), { sourceDateEpoch: 1000 });
      const target = { mediaType: "m/2", digest: digestOf("b"), size: 3 };
      const updated = await images.update(spec("a", { labels: new Map([["new", "2"]]), target }));
      expect(updated).toMatchObject({ target, labels: new Map([["new", "2"]]), createdAt: created.createdAt });
      expect(updated.updatedAt).toBeGreaterThan(created.updatedAt);
      expect(await images.get("a")).toEqual(updated);
    },
  },
  {
    name: "update changes only the fields of its paths; an empty label value deletes",
    async run({ images }) {
      const labels = new Map([
        ["a", "1"],
        ["b.c", "2"],
      ]);
      const target = { ...spec("x").target, annotations: { n: "1", m: "1" } };
      await images.create(spec("x", { labels, target }));
      const update = (change: Partial<ImageSpec>, ...fieldpaths: string[]): Promise<Image> =>
        images.update(spec("x", change), { fieldpaths });
      expect((await update({ labels: new Map([["b.c", "3"]]) }, "labels.b.c")).labels.get("b.c")).toBe("3");
      expect((await update({ labels: new Map([["a", ""]]) }, "labels.a")).labels).toEqual(new Map([["b.c", "3"]]));
      const noted = await update({ target: { ...target, size: 99, annotations: { n: "2" } } }, "annotations.n");
      expect(noted.target).toMatchObject({ size: 10, annotations: { n: "2", m: "1" } });
      const moved = await update({ target: { mediaType: "m/2", digest: digestOf("c"), size: 7 } }, "target");
      expect(moved.target).toEqual({ mediaType: "m/2", digest: digestOf("c"), size: 7 });
      expect(moved.labels).toEqual(new Map([["b.c", "3"]]));
      expect((await update({}, "labels")).labels).toEqual(new Map());
    },
  },
  {
    name: "update refuses unknown field paths and leaves the image alone",
    async run({ images }) {
      const created = await images.create(spec("a"));
      for (const path of ["name", "created_at", "targets", ""]) {
        await expectCode(images.update(spec("a"), { fieldpaths: ["labels", path] }), Code.InvalidArgument);
      }
      expect(await images.get("a")).toEqual(created);
    },
  },
  {
    name: "sourceDateEpoch stands in for the time",
    async run({ images }) {
      const created = await images.create(spec("a"), { sourceDateEpoch: 86_400_000 });
      expect([created.createdAt, created.updatedAt]).toEqual([86_400_000, 86_400_000]);
      const updated = await images.update(spec("a"), { sourceDateEpoch: 172_800_000 });
      expect([updated.createdAt, updated.updatedAt]).toEqual([86_400_000, 172_800_000]);
    },
  },
  {
    name: "delete with another target than the image has is not_found",
    async run({ images }) {
      await images.create(spec("a"));
      await expectCode(images.delete("a", { target: { digest: digestOf("b") } }), Code.NotFound);
      await images.delete("a", { target: { digest: digestOf("a") } });
      await expectCode(images.get("a"), Code.NotFound);
    },
  },
];
