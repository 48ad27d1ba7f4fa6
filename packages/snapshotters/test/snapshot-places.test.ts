import { temporaryDirectory } from "@berth/testing";
import { mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { describe, expect, it } from "vitest";

import { directoryPlaces, SnapshotPlaces } from "../src/snapshot-places.ts";
import { TreeWorkers } from "../src/tree-workers.ts";

async function openSubject() {
  await using made = new AsyncDisposableStack();
  const { path } = made.use(await temporaryDirectory("snapshots"));
  const trees = made.use(new TreeWorkers());
  const directories = await SnapshotPlaces.open({ path, operations: directoryPlaces(trees) });
  const owned = made.move();
  return { path, directories, names: () => readdir(path), [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

const nothing = (): ReadonlySet<number> => new Set();

describe("SnapshotPlaces", () => {
  it("cleanup leaves a directory that is being made, and one that the store will know in a moment", async () => {
    await using subject = await openSubject();
    const { directories, names, path } = subject;
    await directories.create(7, async (temporary) => {
      await writeFile(join(temporary, "file"), "");
      await directories.cleanup(nothing);
    });
    await directories.cleanup(nothing);
    expect(await readdir(join(path, "7"))).toEqual(["file"]);
    directories.adopted(7);
    await directories.cleanup(() => new Set([7]));
    expect(await names()).toEqual(["7"]);
    await directories.cleanup(nothing);
    expect(await names()).toEqual([]);
  });

  it("create leaves nothing when filling fails or the result is disposed", async () => {
    await using subject = await openSubject();
    const { directories, names } = subject;
    const failing = directories.create(1, () => Promise.reject(new Error("no")));
    await expect(failing).rejects.toThrow("no");
    expect(await names()).toEqual([]);
    const made = await directories.create(2, async () => {});
    expect(await names()).toEqual(["2"]);
    await made[Symbol.asyncDispose]();
    expect(await names()).toEqual([]);
  });

  it("create refuses an id whose directory is in use", async () => {
    await using subject = await openSubject();
    await mkdir(join(subject.path, "3/fs"), { recursive: true });
    await expect(subject.directories.create(3, async () => {})).rejects.toMatchObject({ code: "ENOTEMPTY" });
    expect(await subject.names()).toEqual(["3"]);
    expect(await subject.directories.ids()).toEqual([3]);
  });
});
