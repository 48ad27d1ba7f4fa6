import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdir } from "node:fs/promises";
import { join } from "node:path";

import { parseNamespace } from "@berth/core/namespaces";
import { isMountPoint, unmount } from "@berth/linux/mount";
import { expect, it } from "vitest";

import { type LocalMountSubject, openSubject } from "./mount-subject.ts";

const namespace = parseNamespace("one");

/** This runs the child until it is at a place, and kills it there. */
async function killAt(subject: LocalMountSubject, place: string): Promise<void> {
  const [erofs, ext4] = [await subject.image("erofs", { a: "1" }), await subject.image("ext4", { b: "2" })];
  const args = ["--conditions=@berth/source", join(import.meta.dirname, "crash-child.ts"), subject.stateDir, place];
  const child = spawn(process.execPath, [...args, erofs, ext4], { stdio: ["ignore", "pipe", "inherit"] });
  const [first] = await Promise.race([once(child.stdout, "data"), once(child, "exit")]);
  expect(String(first)).toBe("reached\n");
  const exited = once(child, "exit");
  child.kill("SIGKILL");
  await exited;
}

const NOTHING_STAYS = [
  "before loop",
  "after loop",
  "before erofs",
  "after erofs",
  "before unerofs",
  "after unerofs",
  "before unloop",
  "after unloop",
  "deactivated",
];

it.each(NOTHING_STAYS)("killed %s, nothing is left after the next start, and the name is free", async (place) => {
  await using subject = await openSubject();
  await subject.manager[Symbol.asyncDispose]();
  await killAt(subject, place);
  const manager = await subject.reopen();
  expect(await subject.machine()).toEqual({ mountPoints: [], loopFiles: [] });
  expect(await readdir(join(subject.stateDir, "t"))).toEqual([]);
  const list = [{ type: "erofs", source: await subject.image("erofs", {}), target: "", options: ["ro"] }];
  await manager.namespace(namespace).activate("a", list);
});

it("killed after an activation, all of it is there at the next start, and can be taken away", async () => {
  await using subject = await openSubject();
  await subject.manager[Symbol.asyncDispose]();
  await killAt(subject, "activated");
  const before = await subject.machine();
  expect(before.mountPoints).toHaveLength(2);
  expect(before.loopFiles).toHaveLength(1);
  const mounts = (await subject.reopen()).namespace(namespace);
  expect(await subject.machine()).toEqual(before);
  const { active } = await mounts.info("a");
  expect(active.map(({ type }) => type)).toEqual(["loop", "ext4", "erofs"]);
  await mounts.deactivate("a");
  expect(await subject.machine()).toEqual({ mountPoints: [], loopFiles: [] });
});

it("records whose mounts are gone, all or one, are dropped at the next start with what is left of them", async () => {
  await using subject = await openSubject();
  const image = await subject.image("erofs", { a: "1" });
  const ext4 = await subject.image("ext4", {});
  const erofs = { type: "erofs", source: image, target: "", options: ["ro"] };
  await subject.mounts.activate("all", [erofs]);
  await subject.mounts.activate("one", [{ ...erofs, type: "loop", source: ext4, options: [] }, erofs, erofs]);
  await subject.mounts.activate("kept", [erofs]);
  for (const name of ["all", "one"]) await unmount((await subject.mounts.info(name)).active.at(-1)?.mountPoint ?? "");
  const manager = await subject.reopen();
  const left = await Array.fromAsync(manager.namespace(namespace).list());
  expect(left.map(({ name }) => name)).toEqual(["kept"]);
  expect(await subject.machine()).toEqual({ mountPoints: [left[0]?.active[0]?.mountPoint], loopFiles: [] });
  expect(await readdir(join(subject.stateDir, "t"))).toHaveLength(1);
});

it("a left over mount that is in use hinders no start, and goes with a collection once it is free", async () => {
  await using subject = await openSubject();
  const image = await subject.image("erofs", { a: "1" });
  const { active } = await subject.mounts.activate("a", [{ type: "erofs", source: image, target: "", options: [] }]);
  const mountPoint = active[0]?.mountPoint ?? "";
  const user = spawn("sleep", ["1000"], { cwd: mountPoint });
  await once(user, "spawn");
  await expect(subject.mounts.deactivate("a")).rejects.toThrow("in use");
  const manager = await subject.reopen();
  expect(isMountPoint(mountPoint)).toBe(true);
  const collect = async (): Promise<void> => (await manager.collector.begin()).finish();
  await collect();
  expect(isMountPoint(mountPoint)).toBe(true);
  const exited = once(user, "exit");
  user.kill();
  await exited;
  await collect();
  expect(await readdir(join(subject.stateDir, "t"))).toEqual([]);
});

it("mounts of a type whose handler is not there any more are taken away all the same", async () => {
  await using subject = await openSubject();
  const image = await subject.image("erofs", { a: "1" });
  await subject.mounts.activate("a", [{ type: "erofs", source: image, target: "", options: [] }]);
  const manager = await subject.reopen(new Map());
  await manager.namespace(namespace).deactivate("a");
  expect(await subject.machine()).toEqual({ mountPoints: [], loopFiles: [] });
});

it("ids go on after those that are on disk", async () => {
  await using subject = await openSubject();
  const erofs = { type: "erofs", source: await subject.image("erofs", {}), target: "", options: [] };
  const first = await subject.mounts.activate("a", [erofs]);
  await subject.mounts.deactivate("a");
  const next = (await subject.reopen()).namespace(namespace);
  const second = await next.activate("a", [erofs]);
  expect(second.active[0]?.mountPoint).not.toBe(first.active[0]?.mountPoint);
});
