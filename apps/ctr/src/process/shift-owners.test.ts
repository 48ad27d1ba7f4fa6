import { execFileSync } from "node:child_process";
import { chmod, link, mkdir, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { Code, codeOf } from "@berth/errors";
import { lgetxattr, lsetxattr } from "@berth/linux/files";
import { mountTemporary } from "@berth/linux/mount";
import { temporaryDirectory } from "@berth/testing";
import { expect, it } from "vitest";

import { shiftOwners } from "./shift-owners.ts";

const ids = (hostID: number, size = 65_536) => [{ containerID: 0, hostID, size }];

it("shiftOwners maps each file once, and keeps its rights", async () => {
  await using directory = await temporaryDirectory("shift");
  const at = (name: string): string => join(directory.path, name);
  await mkdir(at("d"));
  await writeFile(at("d/setuid"), "");
  await chmod(at("d/setuid"), 0o4755);
  await writeFile(at("capable"), "");
  lsetxattr(at("capable"), "security.capability", Buffer.from("0100000200040000000000000000000000000000", "hex"));
  await link(at("capable"), at("d/twice"));
  await symlink("/etc/passwd", at("link"));
  await writeFile(Buffer.concat([Buffer.from(at("d/")), Buffer.from([0xff, 0xfe])]), "");
  const host = await stat("/etc/passwd");
  await shiftOwners([{ type: "bind", source: directory.path, target: "", options: ["rbind", "rw"] }], {
    uids: ids(1000),
    gids: ids(2000),
  });
  const owners = execFileSync("find", [directory.path, "-printf", String.raw`%U:%G\n`]).toString();
  expect(new Set(owners.trim().split("\n"))).toEqual(new Set(["1000:2000"]));
  expect((await stat(at("d/setuid"))).mode & 0o7777).toBe(0o4755);
  expect(Buffer.from(lgetxattr(at("capable"), "security.capability")).toString("hex")).toBe(
    "0100000300040000000000000000000000000000e8030000",
  );
  expect((await stat("/etc/passwd")).uid).toBe(host.uid);
});

it.each(["off", "on"])("shiftOwners maps all names of a file on overlayfs with index=%s", async (index) => {
  await using directory = await temporaryDirectory("shift");
  const at = (name: string): string => join(directory.path, name);
  for (const name of ["lower", "upper", "work"]) await mkdir(at(name));
  await writeFile(at("lower/one"), "");
  await link(at("lower/one"), at("lower/two"));
  const options = [`lowerdir=${at("lower")}`, `upperdir=${at("upper")}`, `workdir=${at("work")}`, `index=${index}`];
  const mounts = [{ type: "overlay", source: "overlay", target: "", options }];
  await shiftOwners(mounts, { uids: ids(1000), gids: ids(2000) });
  await using mounted = await mountTemporary(mounts);
  for (const name of ["one", "two"])
    expect(await stat(join(mounted.path, name))).toMatchObject({ uid: 1000, gid: 2000 });
});

it("shiftOwners refuses an owner that is not mapped", async () => {
  await using directory = await temporaryDirectory("shift");
  const mounts = [{ type: "bind", source: directory.path, target: "", options: ["rbind", "rw"] }];
  await writeFile(join(directory.path, "other"), "");
  execFileSync("chown", ["5:5", join(directory.path, "other")]);
  const error = await shiftOwners(mounts, { uids: ids(1000, 1), gids: ids(1000, 1) }).catch((each: unknown) => each);
  expect(codeOf(error)).toBe(Code.FailedPrecondition);
});
