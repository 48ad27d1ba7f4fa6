import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmdirSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { expect, it } from "vitest";

import {
  createSubvolume,
  deleteSubvolume,
  findLoopDevices,
  mountTemporary,
  snapshotSubvolume,
  subvolumeId,
} from "../src/mount.ts";
import { temporaryDirectory } from "./temporary-directory.ts";
import { errnoName } from "./thrown.ts";

/** The cache of the checkout; this package is below the one that knows where Debian's programs are. */
const DEBIAN = process.env["BERTH_DEBIAN_ROOT"] ?? join(import.meta.dirname, "../../../.cache/debian/root");

async function mountBtrfs() {
  await using made = new AsyncDisposableStack();
  const directory = made.use(temporaryDirectory());
  const image = join(directory.path, "image");
  writeFileSync(image, "");
  truncateSync(image, 256 << 20);
  execFileSync(join(DEBIAN, "sbin/mkfs.btrfs"), ["-q", image], {
    env: { ...process.env, LD_LIBRARY_PATH: join(DEBIAN, "lib/x86_64-linux-gnu") },
  });
  const mount = { type: "btrfs", source: image, options: ["loop"] };
  const { path } = made.use(await mountTemporary([mount], { directory: directory.path }));
  const owned = made.move();
  return { path, image, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

it("subvolumes are made, copied, made read-only, and deleted with what they hold", async () => {
  await using disk = await mountBtrfs();
  const at = (name: string) => join(disk.path, name);
  expect(findLoopDevices(disk.image)).toHaveLength(1);
  await createSubvolume(at("one"));
  writeFileSync(at("one/file"), "1");
  await snapshotSubvolume(at("one"), at("two"), { readOnly: false });
  await snapshotSubvolume(at("one"), at("fixed"), { readOnly: true });
  writeFileSync(at("two/file"), "2");
  expect(["one", "two", "fixed"].map((name) => readFileSync(at(`${name}/file`), "utf8"))).toEqual(["1", "2", "1"]);
  expect(errnoName(() => writeFileSync(at("fixed/file"), "3"))).toBe("EROFS");
  const ids = await Promise.all([".", "one", "two", "fixed"].map((name) => subvolumeId(at(name))));
  expect(ids[0]).toBe(5n);
  expect(new Set(ids).size).toBe(4);
  for (const name of ["one", "two", "fixed"]) await deleteSubvolume(at(name));
  expect(readdirSync(disk.path)).toEqual([]);
});

it("subvolume calls fail with the errors that they promise", async () => {
  await using disk = await mountBtrfs();
  const at = (name: string) => join(disk.path, name);
  await createSubvolume(at("one"));
  await expect(createSubvolume(at("one"))).rejects.toMatchObject({ code: "EEXIST" });
  await expect(snapshotSubvolume(at("none"), at("x"), { readOnly: true })).rejects.toMatchObject({ code: "ENOENT" });
  await expect(deleteSubvolume(at("none"))).rejects.toMatchObject({ code: "ENOENT" });
  mkdirSync(at("plain"));
  await expect(deleteSubvolume(at("plain"))).rejects.toMatchObject({ code: "EINVAL" });
  await expect(snapshotSubvolume(at("plain"), at("x"), { readOnly: true })).rejects.toMatchObject({ code: "EINVAL" });
  await createSubvolume(at("one/inner"));
  await expect(deleteSubvolume(at("one"))).rejects.toMatchObject({ code: "ENOTEMPTY" });
  await expect(createSubvolume(at("n".repeat(256)))).rejects.toMatchObject({ code: "ENAMETOOLONG" });
  rmdirSync(at("plain"));
  await using elsewhere = temporaryDirectory();
  await expect(createSubvolume(join(elsewhere.path, "x"))).rejects.toMatchObject({ code: "ENOTTY" });
});
