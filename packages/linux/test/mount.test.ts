import { execFileSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  openSync,
  closeSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { codeName, codeOf } from "@berth/errors";
import { expect, it, vi } from "vitest";

import { ChildReaper } from "../src/process.ts";
import {
  attachLoopDevice,
  detachLoopDevice,
  fsTypeName,
  isLoopDeviceAttached,
  isMountPoint,
  type LinuxMount,
  mountAll,
  mountByContext,
  mountTemporary,
  readMountInfo,
  statFs,
  unmount,
  unmountAll,
  unmountRecursive,
  withTemporaryMount,
} from "../src/mount.ts";
import { parseMountOptions } from "../src/mount/mount-options.ts";
import { mountShortened } from "../src/mount/overlay-mount.ts";
import { temporaryDirectory } from "./temporary-directory.ts";
import { errnoName, rejectedClass, rejectedErrno } from "./thrown.ts";

function folder(...parts: string[]): string {
  const path = join(...parts);
  mkdirSync(path, { recursive: true });
  return path;
}

const bind = (source: string, ...options: string[]): LinuxMount => ({ type: "bind", source, options });

it("mountAll with bind and ro refuses writes through the mount and leaves the source writable", async () => {
  await using directory = temporaryDirectory();
  const [source, target] = [folder(directory.path, "source"), folder(directory.path, "target")];
  await mountAll([bind(source, "rbind", "ro")], target);
  expect(errnoName(() => writeFileSync(join(target, "file"), "x"))).toBe("EROFS");
  writeFileSync(join(source, "file"), "x");
  expect(readFileSync(join(target, "file"), "utf8")).toBe("x");
  await unmount(target);
  expect(isMountPoint(target)).toBe(false);
});

it("mountAll passes flags and data to the file system", async () => {
  await using directory = temporaryDirectory();
  const options = ["nosuid", "noexec", "size=1m", "mode=0711"];
  await mountAll([{ type: "tmpfs", source: "tmpfs", options }], directory.path);
  const info = readMountInfo().find((mount) => mount.mountPoint === directory.path);
  expect(info?.options).toEqual(expect.arrayContaining(["nosuid", "noexec"]));
  expect(info?.superOptions).toContain("size=1024k");
  expect(statSync(directory.path).mode & 0o777).toBe(0o711);
  expect(fsTypeName(statFs(directory.path).type)).toBe("tmpfs");
});

it("mountAll takes earlier mounts away when a later one fails", async () => {
  await using directory = temporaryDirectory();
  const mounts: LinuxMount[] = [
    { type: "tmpfs", source: "tmpfs", options: [] },
    { type: "no-such-file-system", source: "none", options: [] },
  ];
  expect(await rejectedErrno(mountAll(mounts, directory.path))).toBe("ENODEV");
  expect(isMountPoint(directory.path)).toBe(false);
});

it("mountAll keeps a target that leads out by a link inside the root", async () => {
  await using directory = temporaryDirectory();
  const root = folder(directory.path, "root");
  const outside = folder(directory.path, "outside");
  folder(root, outside);
  symlinkSync(outside, join(root, "link"));
  await mountAll([{ type: "tmpfs", source: "tmpfs", target: "link", options: [] }], root);
  expect(isMountPoint(outside)).toBe(false);
  expect(isMountPoint(join(root, outside))).toBe(true);
  expect(await rejectedErrno(mountAll([{ type: "tmpfs", source: "tmpfs", target: "../x", options: [] }], root))).toBe(
    "ENOENT",
  );
});

it("mountAll refuses an option that is not for the kernel and options of more than a page", async () => {
  await using directory = temporaryDirectory();
  const codes = ["X-containerd.mkdir.path=/x", `mode=${"0".repeat(5000)}`].map((option) =>
    rejectedClass(mountAll([{ type: "tmpfs", source: "tmpfs", options: [option] }], directory.path)),
  );
  expect(await Promise.all(codes)).toEqual(["invalid_argument", "invalid_argument"]);
  expect(await rejectedErrno(mountAll([bind("/etc\0/x", "bind")], directory.path))).toBe("EINVAL");
});

function layers(root: string, count: number): string[] {
  return Array.from({ length: count }, (_, number) => {
    const layer = folder(root, "snapshots-with-a-long-name", String(number), "fs");
    writeFileSync(join(layer, `file-${number}`), String(number));
    writeFileSync(join(layer, "top"), String(number));
    return layer;
  });
}

function overlay(root: string, lower: readonly string[]): LinuxMount {
  const options = [`workdir=${folder(root, "work")}`, `upperdir=${folder(root, "upper")}`];
  return { type: "overlay", source: "overlay", options: [...options, `lowerdir=${lower.join(":")}`, "index=off"] };
}

it.each([3, 150])("mountAll mounts an overlay of %i layers, the first one on top", async (count) => {
  await using directory = temporaryDirectory();
  const target = folder(directory.path, "target");
  await mountAll([overlay(directory.path, layers(directory.path, count))], target);
  expect(readdirSync(target)).toHaveLength(count + 1);
  expect(readFileSync(join(target, "top"), "utf8")).toBe("0");
  writeFileSync(join(target, "new"), "");
  expect(existsSync(join(directory.path, "upper", "new"))).toBe(true);
});

it("an overlay of 100 layers fits the page of a kernel that takes no single layers", async () => {
  await using directory = temporaryDirectory();
  const target = folder(directory.path, "target");
  const mount = overlay(directory.path, layers(directory.path, 100));
  await mountShortened(mount.source, target, parseMountOptions(mount.options));
  expect(readdirSync(target)).toHaveLength(101);
  expect(readFileSync(join(target, "top"), "utf8")).toBe("0");
  const many = overlay(directory.path, layers(directory.path, 300));
  expect(await rejectedClass(mountShortened("overlay", target, parseMountOptions(many.options)))).toBe(
    "invalid_argument",
  );
});

it("mountAll mounts an overlay whose layer and upper paths exceed 255 bytes", async () => {
  await using directory = temporaryDirectory();
  const root = folder(directory.path, "d".repeat(200), "e".repeat(200));
  const target = folder(directory.path, "target");
  await mountAll([overlay(root, layers(root, 20))], target);
  expect(readdirSync(target)).toHaveLength(21);
});

it("mountAll makes a long overlay read-only when ro is asked for", async () => {
  await using directory = temporaryDirectory();
  const target = folder(directory.path, "target");
  const mount = overlay(directory.path, layers(directory.path, 100));
  await mountAll([{ ...mount, options: ["ro", ...mount.options] }], target);
  expect(errnoName(() => writeFileSync(join(target, "x"), ""))).toBe("EROFS");
  // as with mount(2), the file system itself is read-only and not this mount alone
  expect(readMountInfo().find((mount) => mount.mountPoint === target)?.superOptions[0]).toBe("ro");
});

it("mountAll maps owners of a bind mount, of a tmpfs and of the lower layers of an overlay", async () => {
  await using directory = temporaryDirectory();
  const maps = ["uidmap=0:1000:10", "gidmap=0:2000:10"];
  const [first, second, target] = ["a", "b", "target"].map((name) => folder(directory.path, name));
  writeFileSync(join(first ?? "", "file"), "");
  const owner = (path: string) => [statSync(path).uid, statSync(path).gid];
  await mountAll([bind(first ?? "", "rbind", "ro", ...maps)], target ?? "");
  expect(owner(join(target ?? "", "file"))).toEqual([1000, 2000]);
  expect(errnoName(() => writeFileSync(join(target ?? "", "file"), "x"))).toBe("EROFS");
  await unmount(target ?? "");
  await mountAll([{ type: "tmpfs", source: "tmpfs", options: maps }], target ?? "");
  expect(owner(target ?? "")).toEqual([1000, 2000]);
  await unmountAll(target ?? "");
  const overlay = (lower: string): LinuxMount => ({
    type: "overlay",
    source: "overlay",
    options: [...maps, `lowerdir=${lower}`],
  });
  // Nothing is put where a killed process would leave it for ever.
  vi.stubEnv("TMPDIR", "/nowhere");
  await mountAll([overlay(`${first}:${second}`)], target ?? "").finally(() => vi.unstubAllEnvs());
  expect(owner(join(target ?? "", "file"))).toEqual([1000, 2000]);
  expect(mountsBelow(directory.path)).toEqual([`overlay ${target}`]);
  await unmount(target ?? "");
  expect(await rejectedErrno(mountAll([overlay(`${first}:${directory.path}/none`)], target ?? ""))).toBe("ENOENT");
  expect(mountsBelow(directory.path)).toEqual([]);
});

function mountsBelow(path: string): string[] {
  return readMountInfo()
    .filter(({ mountPoint }) => mountPoint.startsWith(`${path}/`))
    .map(({ type, mountPoint }) => `${type} ${mountPoint}`);
}

it.each(["uidmap=0:1000", "uidmap=a:b:c", "uidmap="])("mountAll refuses the id map %j", async (uidMap) => {
  await using directory = temporaryDirectory();
  const attempt = () => mountAll([bind("/usr", "bind", uidMap, "gidmap=0:1:1")], directory.path);
  expect(await rejectedClass(attempt())).toBe("invalid_argument");
  expect(isMountPoint(directory.path)).toBe(false);
});

it("mountAll attaches a loop device that goes with the mount", async () => {
  await using directory = temporaryDirectory();
  const image = join(directory.path, "image");
  closeSync(openSync(image, "w"));
  truncateSync(image, 8 << 20);
  // A machine without e2fsprogs fails here, with the name of the program.
  execFileSync("mkfs.ext4", ["-q", "-F", image], { env: { PATH: `${process.env["PATH"]}:/sbin:/usr/sbin` } });
  const target = folder(directory.path, "target");
  await mountAll([{ type: "ext4", source: image, options: ["loop", "rw"] }], target);
  writeFileSync(join(target, "file"), "kept");
  const device = readMountInfo().find((mount) => mount.mountPoint === target)?.source ?? "";
  expect(device).toMatch(/^\/dev\/loop\d+$/);
  await unmount(target);
  expect(existsSync(`/sys/block/${device.slice("/dev/".length)}/loop/backing_file`)).toBe(false);
  await mountAll([{ type: "ext4", source: image, options: ["loop", "ro"] }], target);
  expect(readFileSync(join(target, "file"), "utf8")).toBe("kept");
  expect(errnoName(() => writeFileSync(join(target, "x"), ""))).toBe("EROFS");
});

it("mountAll makes a bind mount read-only in a user namespace, where flags of the source are locked", async () => {
  await using directory = temporaryDirectory();
  const [source, target] = [folder(directory.path, "source"), folder(directory.path, "target")];
  await mountAll([{ type: "tmpfs", source: "tmpfs", options: ["nosuid", "nodev", "noexec"] }], source);
  const door = fileURLToPath(new URL("../src/mount.ts", import.meta.url));
  const code = `
    const { mountAll, readMountInfo } = await import(${JSON.stringify(door)});
    const [source, target] = ${JSON.stringify([source, target])};
    await mountAll([{ type: "bind", source, options: ["bind", "ro"] }], target);
    console.log(readMountInfo().find((mount) => mount.mountPoint === target).options.join());`;
  const node = [process.execPath, "--conditions=@berth/source", "--input-type=module", "-e", code];
  const output = execFileSync("unshare", ["--user", "--map-root-user", "--mount", ...node], { encoding: "utf8" });
  expect(output.trim().split(",")).toEqual(expect.arrayContaining(["ro", "nosuid", "nodev", "noexec"]));
});

it("mountAll calls the helper of a FUSE type with source, target, options and subtype", async () => {
  await using directory = temporaryDirectory();
  const [bin, target] = [folder(directory.path, "bin"), folder(directory.path, "target")];
  const log = join(directory.path, "log");
  writeFileSync(join(bin, "mount.fuse3"), `#!/bin/sh\necho "$@" "$NOTIFY_SOCKET" > ${log}\n[ "$1" != bad ]\n`);
  chmodSync(join(bin, "mount.fuse3"), 0o755);
  const path = process.env["PATH"];
  process.env["PATH"] = `${bin}:${path}`;
  // Of this process alone.
  process.env["NOTIFY_SOCKET"] = "/run/notify";
  try {
    await mountAll([{ type: "fuse3.demo", source: "what", options: ["allow_other", "ro"] }], target);
    expect(readFileSync(log, "utf8").trim()).toBe(`what ${target} -o allow_other -o ro -t demo`);
    const failing: LinuxMount = { type: "fuse3.demo", source: "bad", options: [] };
    expect(await rejectedClass(mountAll([failing], target))).toBe("unavailable");
    // A helper that takes its time holds nobody up, and a reaper of all children leaves its end to who waits for it.
    writeFileSync(join(bin, "mount.fuse3"), "#!/bin/sh\nsleep 0.2\nexit 3\n");
    const orphans: number[] = [];
    using _reaper = new ChildReaper({ mode: "all", onOrphan: (pid) => orphans.push(pid) });
    let turns = 0;
    const ticking = setInterval(() => turns++, 5);
    await expect(mountAll([failing], target)).rejects.toThrow("status 3");
    clearInterval(ticking);
    expect({ orphans, ticked: turns > 10 }).toEqual({ orphans: [], ticked: true });
    expect(await rejectedErrno(mountAll([{ type: "fuse.demo", source: "x", options: [] }], target))).toBe("ENOENT");
  } finally {
    process.env["PATH"] = path;
    delete process.env["NOTIFY_SOCKET"];
  }
});

it("unmount waits for a busy mount and gives EBUSY up on abort", async () => {
  await using directory = temporaryDirectory();
  await mountAll([{ type: "tmpfs", source: "tmpfs", options: [] }], directory.path);
  const busy = openSync(join(directory.path, "file"), "w");
  setTimeout(() => closeSync(busy), 120);
  const begin = performance.now();
  await unmount(directory.path);
  expect(performance.now() - begin).toBeGreaterThan(90);
  await mountAll([{ type: "tmpfs", source: "tmpfs", options: [] }], directory.path);
  const open = openSync(join(directory.path, "file"), "w");
  try {
    await expect(unmount(directory.path, { signal: AbortSignal.timeout(80) })).rejects.toThrow();
    expect(isMountPoint(directory.path)).toBe(true);
    await unmount(directory.path, { detach: true });
    expect(isMountPoint(directory.path)).toBe(false);
  } finally {
    closeSync(open);
  }
});

it("unmount is content where nothing is mounted, and unmountAll where nothing is", async () => {
  await using directory = temporaryDirectory();
  await unmount(directory.path);
  await unmountAll(join(directory.path, "missing"));
  await unmountRecursive(join(directory.path, "missing"));
  await expect(unmount(join(directory.path, "missing"))).rejects.toMatchObject({ code: "ENOENT" });
});

it("unmountAll takes a whole stack and unmountRecursive a whole tree", async () => {
  await using directory = temporaryDirectory();
  const tmpfs: LinuxMount = { type: "tmpfs", source: "tmpfs", options: [] };
  await mountAll([tmpfs, tmpfs, tmpfs], directory.path);
  await unmountAll(directory.path);
  expect(isMountPoint(directory.path)).toBe(false);
  await mountAll([tmpfs], directory.path);
  const inner = folder(directory.path, "with space", "inner");
  await mountAll([tmpfs, tmpfs], inner);
  await mountAll([tmpfs], folder(inner, "deep"));
  await unmountRecursive(directory.path);
  expect(readMountInfo().filter((mount) => mount.mountPoint.startsWith(directory.path))).toEqual([]);
});

it("mountTemporary removes its directory, also when the mount fails, and drops volatile", async () => {
  await using directory = temporaryDirectory();
  const [lower, parent] = [folder(directory.path, "lower"), folder(directory.path, "parent")];
  const volatile = overlay(directory.path, [lower]);
  await withTemporaryMount(
    [{ ...volatile, options: [...volatile.options, "volatile"] }],
    { directory: parent },
    (path) => {
      expect(isMountPoint(path)).toBe(true);
      // the mark that forbids the next mount
      expect(existsSync(join(directory.path, "work/work/incompat/volatile"))).toBe(false);
    },
  );
  expect(readdirSync(parent)).toEqual([]);
  await expect(mountTemporary([bind("/no/such", "bind")], { directory: parent })).rejects.toMatchObject({
    code: "ENOENT",
  });
  const aborted = { directory: parent, signal: AbortSignal.abort() };
  await expect(mountTemporary([], aborted)).rejects.toMatchObject({ name: "AbortError" });
  expect(readdirSync(parent)).toEqual([]);
});

it("a loop device that is kept outlives its handle, and is only detached under its name", async () => {
  await using directory = temporaryDirectory();
  const image = join(directory.path, "image");
  writeFileSync(image, new Uint8Array(1 << 20));
  let path: string;
  {
    await using device = await attachLoopDevice(image, { readOnly: true, name: "berth-test-a" });
    ({ path } = device);
    await device.keep();
  }
  const backing = `/sys/block/${path.slice("/dev/".length)}/loop/backing_file`;
  expect(readFileSync(backing, "utf8").trim()).toBe(image);
  expect(await isLoopDeviceAttached(path, "berth-test-a")).toBe(true);
  expect(await detachLoopDevice(path, "berth-test")).toBe(false);
  expect(await detachLoopDevice(path, "berth-test-ab")).toBe(false);
  expect(existsSync(backing)).toBe(true);
  expect(await detachLoopDevice(path, "berth-test-a")).toBe(true);
  expect(existsSync(backing)).toBe(false);
  expect(await isLoopDeviceAttached(path, "berth-test-a")).toBe(false);
});

it("a loop device that nobody keeps goes with its handle", async () => {
  await using directory = temporaryDirectory();
  const image = join(directory.path, "image");
  writeFileSync(image, new Uint8Array(1 << 20));
  const device = await attachLoopDevice(image);
  await device[Symbol.asyncDispose]();
  expect(existsSync(`/sys/block/${device.path.slice("/dev/".length)}/loop/backing_file`)).toBe(false);
});

it("mountByContext passes flags and data, and says why the kernel refused", async () => {
  await using directory = temporaryDirectory();
  const target = folder(directory.path, "target");
  await mountByContext(
    { type: "tmpfs", source: "none", options: ["ro", "nosuid", "nodev", "size=64k", "mode=711"] },
    target,
  );
  const mounted = readMountInfo().find((mount) => mount.mountPoint === target);
  expect(mounted).toMatchObject({ type: "tmpfs", source: "none" });
  expect(mounted?.options).toEqual(expect.arrayContaining(["ro", "nosuid", "nodev"]));
  expect(mounted?.superOptions).toEqual(expect.arrayContaining(["ro", "size=64k", "mode=711"]));
  const other = folder(directory.path, "other");
  const fail = (type: string, ...options: string[]) =>
    mountByContext({ type, source: "none", options }, other).catch((error: unknown) => error);
  expect(await fail("tmpfs", "size=nonsense")).toMatchObject({
    message: expect.stringContaining("tmpfs: Bad value for 'size'"),
  });
  expect(await fail("nosuchfs")).toMatchObject({ code: "ENODEV" });
  expect(await fail("ext4")).toMatchObject({ syscall: "fsconfig" });
  expect(codeName(codeOf(await fail("tmpfs", "X-containerd.a")))).toBe("invalid_argument");
  expect(isMountPoint(other)).toBe(false);
});

it("mountAll shows one file system where an image is mounted for writing twice", async () => {
  await using directory = temporaryDirectory();
  const image = join(directory.path, "image");
  closeSync(openSync(image, "w"));
  truncateSync(image, 8 << 20);
  execFileSync("mkfs.ext4", ["-q", "-F", image], { env: { PATH: `${process.env["PATH"]}:/sbin:/usr/sbin` } });
  const [first, second] = [folder(directory.path, "first"), folder(directory.path, "second")];
  const mount = { type: "ext4", source: image, options: ["loop", "rw"] };
  await Promise.all([mountAll([mount], first), mountAll([mount], second)]);
  writeFileSync(join(first, "a"), "1");
  expect(readFileSync(join(second, "a"), "utf8")).toBe("1");
  await unmount(first);
  writeFileSync(join(second, "b"), "2");
  await unmount(second);
  await mountAll([mount], first);
  expect(["a", "b"].map((name) => readFileSync(join(first, name), "utf8"))).toEqual(["1", "2"]);
});

it("mountAll mounts below a target, and says what was wrong", async () => {
  await using directory = temporaryDirectory();
  const image = join(directory.path, "image");
  closeSync(openSync(image, "w"));
  truncateSync(image, 8 << 20);
  execFileSync("mkfs.ext4", ["-q", "-F", image], { env: { PATH: `${process.env["PATH"]}:/sbin:/usr/sbin` } });
  const target = folder(directory.path, "target/inner");
  await mountAll(
    [{ type: "ext4", source: image, options: ["loop", "ro", "nodev"], target: "/inner" }],
    join(target, ".."),
  );
  expect(readMountInfo().find((mount) => mount.mountPoint === target)).toMatchObject({
    type: "ext4",
    options: expect.arrayContaining(["ro", "nodev"]),
  });
  const bound = folder(directory.path, "bound");
  await mountAll([bind(target, "rbind", "ro")], bound);
  expect(readdirSync(bound)).toEqual(["lost+found"]);
  const bad = mountAll(
    [{ type: "ext4", source: image, options: ["loop", "nonsense=1"] }],
    folder(directory.path, "bad"),
  );
  await expect(bad).rejects.toMatchObject({ code: "EINVAL", syscall: "mount" });
  const long = mountAll(
    [{ type: "tmpfs", source: "none", options: ["x".repeat(5000)] }],
    folder(directory.path, "bad"),
  );
  expect(codeName(codeOf(await long.catch((error: unknown) => error)))).toBe("invalid_argument");
});
