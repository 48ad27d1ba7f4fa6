import { execFile } from "node:child_process";
import { mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";

import type { Mount } from "@berth/core/mount";
import { parseNamespace } from "@berth/core/namespaces";
import { Code, codeOf } from "@berth/errors";
import { mountAll, readMountInfo, unmountAll } from "@berth/linux/mount";
import { debianTool, temporaryDirectory } from "@berth/testing";
import { describe, expect, it } from "vitest";

import { createErofsHandler, createLoopHandler, LocalMountManager } from "../src/index.ts";
import { handlers, openSubject } from "./mount-subject.ts";

const mountOf = (type: string, source: string, ...options: string[]): Mount => ({ type, source, target: "", options });

async function codeOfFailure(promise: Promise<unknown>): Promise<Code | undefined> {
  return promise.then(
    () => undefined,
    (error: unknown) => codeOf(error),
  );
}

describe("LocalMountManager", () => {
  it("leaves types to a caller that makes them itself", async () => {
    await using subject = await openSubject();
    const image = await subject.image("erofs", { a: "1" });
    const list = [mountOf("erofs", image, "ro"), mountOf("format/overlay", "overlay", "lowerdir={{ mount 0 }}")];
    const allowMountTypes = ["erofs", "format/*"];
    expect(await codeOfFailure(subject.mounts.activate("a", list, { allowMountTypes }))).toBe(Code.Unimplemented);
    const half = await subject.mounts.activate("a", list, { allowMountTypes: ["format/*"] });
    expect(half.system).toEqual([mountOf("overlay", "overlay", `lowerdir=${half.active[0]?.mountPoint}`)]);
  });

  it("leaves nothing of an activation that is cancelled, whether it waits, prepares or mounts", async () => {
    await using subject = await openSubject();
    const image = await subject.image("erofs", { a: "1" });
    const rw = join(subject.directory, "rw");
    const list = [
      mountOf("erofs", image, "ro"),
      mountOf("mkfs/ext4", rw, "X-containerd.mkfs.size=64MiB", "loop"),
      mountOf("format/bind", "{{ mount 1 }}", "rbind"),
    ];
    for (const delayMs of [0, 1, 3, 6, 12, 25, 50]) {
      const signal = AbortSignal.timeout(delayMs);
      const outcome = await subject.mounts.activate("a", list, { signal }).catch((error: unknown) => error);
      if (outcome instanceof Error) {
        expect(outcome.name).toBe("TimeoutError");
        expect(await subject.machine()).toEqual({ mountPoints: [], loopFiles: [] });
      } else await subject.mounts.deactivate("a");
      expect((await readdir(subject.directory)).filter((name) => name !== "rw")).toEqual([]);
    }
    await subject.mounts.activate("a", list);
    const waiting = new AbortController();
    const first = subject.mounts.deactivate("a");
    const second = subject.mounts.activate("a", list, { signal: waiting.signal });
    waiting.abort(new Error("enough"));
    await expect(second).rejects.toThrow("enough");
    await first;
    await subject.mounts.activate("a", list);
  });

  it("takes a half made image of a process that was killed away, and makes it whole", async () => {
    await using subject = await openSubject();
    const rw = join(subject.directory, "rw");
    await writeFile(join(subject.directory, ".rw.mkfs"), "not formatted");
    await mkdir(join(subject.directory, ".upper.mkdir"), { mode: 0o777 });
    const list = [
      mountOf("mkfs/ext4", rw, "X-containerd.mkfs.size=8MiB", "loop"),
      mountOf("mkdir/bind", "/", `X-containerd.mkdir.path=${subject.directory}/upper`),
    ];
    await subject.mounts.activate("a", list);
    expect((await readdir(subject.directory)).toSorted()).toEqual(["rw", "upper"]);
    expect((await stat(join(subject.directory, "upper"))).mode & 0o777).toBe(0o700);
  });

  it("keeps an image that is there, whatever it is, and makes one once for many at a time", async () => {
    await using subject = await openSubject();
    const there = join(subject.directory, "there");
    await writeFile(there, "mine");
    await subject.mounts
      .activate("a", [mountOf("mkfs/ext4", there, "X-containerd.mkfs.size=8MiB", "loop")])
      .catch(() => {});
    expect(await readFile(there, "utf8")).toBe("mine");
    const shared = mountOf("mkfs/ext4", join(subject.directory, "shared"), "X-containerd.mkfs.size=8MiB", "ro", "loop");
    await Promise.all(["b", "c", "d"].map((name) => subject.mounts.activate(name, [shared])));
    expect((await readdir(subject.directory)).toSorted()).toEqual(["shared", "there"]);
  });

  it("refuses an activation on a full disk, and can take earlier ones away", async () => {
    await using subject = await openSubject();
    const image = await subject.image("erofs", { a: "1" });
    await using directory = await temporaryDirectory("mounts-full");
    const stateDir = join(directory.path, "state");
    await mkdir(stateDir);
    await mountAll([{ type: "tmpfs", source: "none", options: ["size=1m"] }], stateDir);
    await using stack = new AsyncDisposableStack();
    stack.defer(() => unmountAll(stateDir));
    const manager = stack.use(await LocalMountManager.open({ stateDir, handlers }));
    const mounts = manager.namespace(parseNamespace("one"));
    await mounts.activate("a", [mountOf("erofs", image, "ro")]);
    await writeFile(join(stateDir, "filler"), new Uint8Array(2 * 1024 * 1024)).catch(() => {});
    expect(await codeOfFailure(mounts.activate("b", [mountOf("erofs", image, "ro")]))).toBe(Code.ResourceExhausted);
    const mountPoints = () => readMountInfo().filter(({ mountPoint }) => mountPoint.startsWith(`${stateDir}/t/`));
    expect(mountPoints()).toHaveLength(1);
    // On a tmpfs no room can be reserved: the record may have to wait for some, the mounts need not.
    await writeFile(join(stateDir, "filler"), "");
    await mounts.deactivate("a");
    expect(mountPoints()).toEqual([]);
  });

  it("passes mounts with a target below their mount point, and takes all of it away", async () => {
    await using subject = await openSubject();
    const lower = await subject.image("ext4", { "below/x": "1" });
    const list = [
      mountOf("loop", lower),
      mountOf("format/ext4", "{{ mount 0 }}"),
      { ...mountOf("format/bind", "{{ mount 1 }}/below", "rbind"), target: "/inner" },
    ];
    const info = await subject.mounts.activate("a", list);
    expect(info.system).toEqual([
      { ...mountOf("bind", `${info.active[1]?.mountPoint}/below`, "rbind"), target: "/inner" },
    ]);
    await subject.mounts.deactivate("a");
  });
});

describe("the collector of mounts", () => {
  it("lists activations with their leases and labels, and removes those noted unless they are other ones by then", async () => {
    await using subject = await openSubject();
    const { manager } = subject;
    const list = [mountOf("erofs", await subject.image("erofs", {}), "ro")];
    const namespace = parseNamespace("one");
    const labels = new Map([["containerd.io/gc.bref.container", "c"]]);
    await manager.namespace(namespace, { lease: "l" }).activate("leased", list, { labels });
    await manager.namespace(namespace).activate("a", list);
    await manager.namespace(namespace).activate("b", list);
    await manager.namespace(namespace, { lease: "l" }).activate("held", list, { held: true });
    const collection = await manager.collector.begin();
    const items = [...collection.items];
    expect(items).toEqual([
      { namespace, key: "leased", lease: "l", active: false, labels },
      { namespace, key: "a", lease: undefined, active: false, labels: new Map() },
      { namespace, key: "b", lease: undefined, active: false, labels: new Map() },
      { namespace, key: "held", lease: undefined, active: true, labels: new Map() },
    ]);
    await subject.mounts.deactivate("a");
    await subject.mounts.activate("a", list);
    await subject.mounts.activate("late", list);
    for (const item of items.slice(1, 3)) collection.remove(item);
    await collection.finish();
    const left = await Array.fromAsync(subject.mounts.list());
    expect(left.map(({ name }) => name)).toEqual(["a", "held", "late", "leased"]);
    const cancelled = await manager.collector.begin();
    for (const item of cancelled.items) cancelled.remove(item);
    await cancelled.cancel();
    expect(await Array.fromAsync(subject.mounts.list())).toHaveLength(4);
  });

  it("leaves activations alone that are under way", async () => {
    await using subject = await openSubject();
    const image = await subject.image("erofs", { a: "1" });
    const rw = mountOf("mkfs/ext4", join(subject.directory, "rw"), "X-containerd.mkfs.size=512MiB", "loop");
    let isDone = false;
    const activation = subject.mounts.activate("a", [
      mountOf("erofs", image, "ro"),
      rw,
      mountOf("format/bind", "{{ mount 1 }}"),
    ]);
    void activation.finally(() => (isDone = true));
    let collections = 0;
    for (; !isDone; collections++) await subject.collect();
    expect(collections).toBeGreaterThan(1);
    expect(await readFile(join((await activation).active[0]?.mountPoint ?? "", "a"), "utf8")).toBe("1");
  });

  it("goes on where a mount is in use", async () => {
    await using subject = await openSubject();
    const list = [mountOf("erofs", await subject.image("erofs", { a: "1" }), "ro")];
    const busy = await subject.mounts.activate("busy", list);
    await subject.mounts.activate("free", list);
    await mountAll([{ type: "tmpfs", source: "none", options: [] }], busy.active[0]?.mountPoint ?? "");
    const user = promisify(execFile)("sleep", ["3.5"], { cwd: busy.active[0]?.mountPoint });
    const collection = await subject.manager.collector.begin();
    for (const item of collection.items) collection.remove(item);
    await collection.finish();
    expect(await Array.fromAsync(subject.mounts.list())).toEqual([]);
    await user;
    await subject.collect();
    expect(await subject.machine()).toEqual({ mountPoints: [], loopFiles: [] });
  });
});

describe("the handler of erofs", () => {
  it.each([true, false])(
    "mounts images, those on several devices too, when the kernel takes files is %s",
    async (takesFiles) => {
      await using subject = await openSubject();
      await using directory = await temporaryDirectory("erofs");
      const at = (name: string): string => join(directory.path, name);
      await mkdir(at("tree"));
      await writeFile(at("tree/file"), new Uint8Array(50_000).fill(7));
      const args = ["--quiet", "--chunksize=4096", `--blobdev=${at("blob")}`, at("image"), at("tree")];
      await promisify(execFile)(debianTool("mkfs.erofs"), args);
      const manager = await subject.reopen(new Map([["erofs", createErofsHandler({ takesFiles })]]));
      const mounts = manager.namespace(parseNamespace("one"));
      const { active } = await mounts.activate("a", [
        mountOf("erofs", at("image"), "ro", "loop", `device=${at("blob")}`),
      ]);
      const [made] = active;
      expect((await readFile(join(made?.mountPoint ?? "", "file"))).every((byte) => byte === 7)).toBe(true);
      const devices = takesFiles
        ? [at("image"), `device=${at("blob")}`]
        : [/^\/dev\/loop\d+$/, /^device=\/dev\/loop\d+$/];
      expect([made?.source, made?.options.at(-1)]).toEqual(
        devices.map((each) => (typeof each === "string" ? each : expect.stringMatching(each))),
      );
      await mounts.deactivate("a");
      expect(await subject.machine()).toEqual({ mountPoints: [], loopFiles: [] });
    },
  );

  it("maps owners, and refuses to mount unverified what asks for verification", async () => {
    await using subject = await openSubject();
    const image = await subject.image("erofs", { a: "1" });
    const mapped = mountOf("erofs", image, "ro", "uidmap=0:1000:65536", "gidmap=0:2000:65536");
    const { active } = await subject.mounts.activate("a", [mapped]);
    const { uid, gid } = await stat(join(active[0]?.mountPoint ?? "", "a"));
    expect([uid, gid]).toEqual([1000, 2000]);
    await subject.mounts.deactivate("a");
    const verified = mountOf("erofs", image, "ro", "X-containerd.dmverity=/etc/hostname");
    expect(await codeOfFailure(subject.mounts.activate("b", [verified]))).toBe(Code.FailedPrecondition);
    expect(await subject.machine()).toEqual({ mountPoints: [], loopFiles: [] });
  });
});

describe("the handler of loop devices", () => {
  it("attaches for reading only where that is asked for, and knows no other options", async () => {
    await using subject = await openSubject();
    const image = await subject.image("ext4", {});
    const handler = createLoopHandler();
    const mountPoint = join(subject.directory, "device");
    for (const options of [["ro"], ["rw", "direct-io"]]) {
      const { mountPoint: link } = await handler.mount(mountOf("loop", image, ...options), mountPoint, { active: [] });
      const name = (await promisify(execFile)("readlink", [link])).stdout.trim().replace("/dev/", "");
      const isReadOnly = options[0] === "ro";
      expect((await readFile(`/sys/block/${name}/ro`, "utf8")).trim()).toBe(isReadOnly ? "1" : "0");
      expect(await handler.isMounted(mountPoint)).toBe(true);
      await handler.unmount(mountPoint);
      await handler.unmount(mountPoint);
      expect(await handler.isMounted(mountPoint)).toBe(false);
    }
    expect(await codeOfFailure(handler.mount(mountOf("loop", image, "offset=1"), mountPoint, { active: [] }))).toBe(
      Code.InvalidArgument,
    );
    expect(await subject.machine()).toEqual({ mountPoints: [], loopFiles: [] });
  });
});
