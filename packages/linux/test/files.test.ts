import {
  closeSync,
  constants,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readlinkSync,
  readSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";

import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";

import * as files from "../src/files.ts";
import { spawn, waitPid } from "../src/process.ts";
import { temporaryDirectory, type TemporaryDirectory } from "./temporary-directory.ts";
import { errnoName } from "./thrown.ts";

const { AT_EMPTY_PATH, AT_FDCWD, O_PATH, RESOLVE_BENEATH, RESOLVE_IN_ROOT, RESOLVE_NO_SYMLINKS } = files;

let directory: TemporaryDirectory;
let root: number;
const at = (name: string): string => join(directory.path, name);

beforeAll(() => {
  directory = temporaryDirectory();
  root = openSync(directory.path, constants.O_RDONLY | constants.O_DIRECTORY);
});

afterAll(async () => {
  closeSync(root);
  await directory[Symbol.asyncDispose]();
});

function opened<T>(path: string, how: files.OpenHow, use: (fd: number) => T): T {
  const fd = files.openat2(root, path, how);
  try {
    return use(fd);
  } finally {
    files.closeFd(fd);
  }
}

it("openat2 with RESOLVE_IN_ROOT keeps links and dots inside the directory", () => {
  mkdirSync(at("etc"));
  writeFileSync(at("etc/passwd"), "inside");
  symlinkSync("/etc/passwd", at("absolute"));
  symlinkSync("../../../../../../etc/passwd", at("dots"));
  const text = (path: string) => opened(path, { flags: 0, resolve: RESOLVE_IN_ROOT }, (fd) => readFileSync(fd, "utf8"));
  expect([text("absolute"), text("dots"), text("/../../etc/passwd")]).toEqual(["inside", "inside", "inside"]);
  const open = (path: string, resolve: number) => errnoName(() => opened(path, { flags: 0, resolve }, () => 0));
  expect(open("dots", RESOLVE_BENEATH)).toBe("EXDEV");
  expect(open("absolute", RESOLVE_NO_SYMLINKS)).toBe("ELOOP");
  expect(open("missing", RESOLVE_IN_ROOT)).toBe("ENOENT");
  expect(open("etc\0/passwd", RESOLVE_IN_ROOT)).toBe("EINVAL");
});

it("openat2 creates with a mode and never leaks the descriptor to a child", () => {
  const flags = constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY;
  opened("created", { flags, mode: 0o640, resolve: RESOLVE_IN_ROOT }, (fd) => {
    writeSync(fd, "x");
    expect(readFileSync(`/proc/self/fdinfo/${fd}`, "utf8")).toMatch(/flags:\t0[0-7]*2[0-7]{6}\n/);
  });
  expect(statSync(at("created")).mode & 0o777).toBe(0o640);
  expect(errnoName(() => opened("created", { flags, mode: 0o640 }, () => 0))).toBe("EEXIST");
});

it("the at-calls work relative to a descriptor", () => {
  files.mkdirat(root, "dir", 0o700);
  files.symlinkat("target", root, "dir/link");
  expect(readlinkSync(at("dir/link"))).toBe("target");
  expect(new TextDecoder().decode(files.readlinkat(root, "dir/link"))).toBe("target");
  writeFileSync(at("dir/file"), "x");
  files.linkat(root, "dir/file", root, "dir/hard");
  files.linkat(root, "dir/link", root, "dir/hardlink-of-link");
  expect([statSync(at("dir/file")).nlink, lstatSync(at("dir/hardlink-of-link")).isSymbolicLink()]).toEqual([2, true]);
  files.renameat2(root, "dir/hard", root, "dir/moved");
  expect(errnoName(() => files.renameat2(root, "dir/file", root, "dir/moved", files.RENAME_NOREPLACE))).toBe("EEXIST");
  files.renameat2(root, "dir/file", root, "dir/link", files.RENAME_EXCHANGE);
  expect(lstatSync(at("dir/file")).isSymbolicLink()).toBe(true);
  files.fchmodat(root, "dir/moved", 0o4751);
  expect(statSync(at("dir/moved")).mode & 0o7777).toBe(0o4751);
  files.unlinkat(root, "dir/moved");
  expect(errnoName(() => files.unlinkat(root, "dir/moved"))).toBe("ENOENT");
  expect(errnoName(() => files.unlinkat(root, "dir"))).toBe("EISDIR");
  expect(errnoName(() => files.unlinkat(root, "dir", files.AT_REMOVEDIR))).toBe("ENOTEMPTY");
});

it("names that are no UTF-8 pass through as bytes", () => {
  const name = new Uint8Array([0x62, 0xff, 0xfe, 0x2f]).subarray(0, 3);
  files.symlinkat(name, root, name);
  expect([...files.readlinkat(root, name)]).toEqual([...name]);
  files.unlinkat(root, name);
  expect(errnoName(() => files.unlinkat(root, new Uint8Array([0x61, 0])))).toBe("EINVAL");
});

it("owners and times of links are their own, to the nanosecond, before 1970 too", () => {
  writeFileSync(at("owned"), "");
  symlinkSync("owned", at("owned-link"));
  files.fchownat(root, "owned-link", 12, 34);
  files.lchown(at("owned"), 56, 4_000_000_000);
  expect([lstatSync(at("owned-link")).uid, lstatSync(at("owned-link")).gid]).toEqual([12, 34]);
  expect([statSync(at("owned")).uid, statSync(at("owned")).gid]).toEqual([56, 4_000_000_000]);
  const modified = 1_700_000_000_123_456_789n;
  files.utimensat(root, "owned-link", 5n, modified);
  files.lutimes(at("owned"), undefined, -1n);
  expect(lstatSync(at("owned-link"), { bigint: true }).mtimeNs).toBe(modified);
  expect(lstatSync(at("owned-link"), { bigint: true }).atimeNs).toBe(5n);
  expect(statSync(at("owned"), { bigint: true }).mtimeNs).toBe(-1n);
});

it("an O_PATH descriptor is enough to change owner, mode and attributes", () => {
  writeFileSync(at("by-descriptor"), "");
  opened("by-descriptor", { flags: O_PATH | constants.O_NOFOLLOW }, (fd) => {
    files.fchownat(fd, "", 7, 8, AT_EMPTY_PATH);
    files.fchmodat(AT_FDCWD, files.descriptorPath(fd), 0o604);
  });
  files.lsetxattr(files.descriptorPath(root, "by-descriptor"), "user.a", new Uint8Array([1]));
  const stat = statSync(at("by-descriptor"));
  expect([stat.uid, stat.gid, stat.mode & 0o777]).toEqual([7, 8, 0o604]);
  expect(files.llistxattr(at("by-descriptor"))).toEqual(["user.a"]);
});

it("extended attributes hold any bytes, NUL and none included", () => {
  writeFileSync(at("attributes"), "");
  const fd = openSync(at("attributes"), "r");
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (value) => {
      files.lsetxattr(at("attributes"), "user.value", value);
      expect(files.lgetxattr(at("attributes"), "user.value")).toEqual(value);
      files.lsetxattr(fd, "trusted.value", value);
      expect(files.lgetxattr(fd, "trusted.value")).toEqual(value);
    }),
    { numRuns: 50 },
  );
  closeSync(fd);
  expect(files.llistxattr(at("attributes")).toSorted()).toEqual(["trusted.value", "user.value"]);
  const set = (mode: "create" | "replace", name: string) =>
    errnoName(() => files.lsetxattr(at("attributes"), name, new Uint8Array(1), { mode }));
  expect([set("create", "user.value"), set("replace", "user.other")]).toEqual(["EEXIST", "ENODATA"]);
  files.lremovexattr(at("attributes"), "user.value");
  expect(errnoName(() => files.lgetxattr(at("attributes"), "user.value"))).toBe("ENODATA");
  expect(files.lfindxattr(at("attributes"), "user.value")).toBeUndefined();
  expect(files.lfindxattr("/proc/self/status", "user.value")).toBeUndefined();
  expect(errnoName(() => files.lfindxattr(at("missing"), "user.value"))).toBe("ENOENT");
});

it("security.capability of a file is kept byte for byte", () => {
  writeFileSync(at("capable"), "");
  // struct vfs_cap_data, revision 2: cap_net_raw permitted and effective
  const capability = new Uint8Array([1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  files.lsetxattr(at("capable"), "security.capability", capability);
  expect(files.lgetxattr(at("capable"), "security.capability")).toEqual(capability);
});

it("mknod makes devices and mkfifo pipes", () => {
  files.mknod(at("null"), constants.S_IFCHR | 0o600, 1, 3);
  files.mknod(at("whiteout"), constants.S_IFCHR, 0, 0);
  files.mkfifo(at("fifo"), 0o600);
  const stat = statSync(at("null"));
  expect([stat.isCharacterDevice(), files.major(stat.rdev), files.minor(stat.rdev)]).toEqual([true, 1, 3]);
  expect([statSync(at("whiteout")).rdev, statSync(at("fifo")).isFIFO()]).toEqual([0, true]);
});

it("makedev is undone by major and minor", () => {
  const number = fc.integer({ min: 0, max: 0xffffffff });
  fc.assert(
    fc.property(number, number, (high, low) => {
      expect([files.major(files.makedev(high, low)), files.minor(files.makedev(high, low))]).toEqual([high, low]);
    }),
  );
});

it("flock excludes another process until the file is closed", () => {
  writeFileSync(at("lock"), "");
  const mine = openSync(at("lock"), "r");
  const other = openSync(at("lock"), "r");
  const script = ["--nonblock", at("lock"), "true"];
  const attempt = () => waitPid(spawn({ path: "flock", args: script, env: {} }), { noHang: false })?.status;
  expect([files.flock(mine), files.flock(other), attempt()]).toEqual([true, false, 1]);
  files.unlock(mine);
  expect([files.flock(other, { exclusive: false }), files.flock(mine, { exclusive: false })]).toEqual([true, true]);
  closeSync(mine);
  closeSync(other);
  expect(attempt()).toBe(0);
  expect(errnoName(() => files.flock(999_999))).toBe("EBADF");
});

it("pipe2, dup and setNonBlocking", () => {
  const [read, write] = files.pipe2();
  const copy = files.dup(write, 200);
  expect(copy).toBeGreaterThanOrEqual(200);
  files.setNonBlocking(read);
  expect(errnoName(() => readSync(read, new Uint8Array(1)))).toBe("EAGAIN");
  writeSync(copy, "x");
  expect(readSync(read, new Uint8Array(8))).toBe(1);
  for (const fd of [read, write, copy]) files.closeFd(fd);
  expect(errnoName(() => files.closeFd(copy))).toBe("EBADF");
});

it("fallocate reserves with and without changing the size, syncfs answers", async () => {
  const fd = openSync(at("reserved"), "w");
  files.fallocate(fd, 0n, 8192n, { keepSize: true });
  expect(statSync(at("reserved"))).toMatchObject({ size: 0, blocks: 16 });
  files.fallocate(fd, 0n, 4096n);
  expect(statSync(at("reserved")).size).toBe(4096);
  await files.syncfs(fd);
  closeSync(fd);
  await expect(files.syncfs(fd)).rejects.toMatchObject({ code: "EBADF" });
});
