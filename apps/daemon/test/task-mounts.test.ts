import { chmod, copyFile, mkdir, readdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { type Client, createClient } from "@berth/client";
import { createContainer } from "@berth/client/run";
import { readBlob, writeBlob } from "@berth/core/content";
import type { Mount } from "@berth/core/mount";
import { isNotFound } from "@berth/errors";
import { readMountInfo } from "@berth/linux/mount";
import {
  BUSYBOX_IMAGE,
  buildImage,
  busyboxImage,
  debianTool,
  launcher,
  type PeerDaemon,
  runProgram,
  startBerthd,
} from "@berth/testing";
import { MediaType } from "@berth/oci";
import { withProcessArgs } from "@berth/oci/spec";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from "vitest";

let daemon: PeerDaemon;
let client: Client;
let image: string;
let count = 0;

beforeAll(async () => {
  daemon = await startBerthd();
  image = join(daemon.root, "busybox.erofs");
  const tree = join(daemon.root, "tree");
  for (const name of ["bin", "proc", "sys", "dev", "run", "etc"]) await mkdir(join(tree, name), { recursive: true });
  await copyFile(debianTool("busybox"), join(tree, "bin/busybox"));
  await chmod(join(tree, "bin/busybox"), 0o755);
  for (const applet of ["sh", "sleep"]) await symlink("busybox", join(tree, "bin", applet));
  expect(await runProgram(debianTool("mkfs.erofs"), ["--quiet", image, tree])).toMatchObject({ code: 0 });
});
afterAll(() => daemon[Symbol.asyncDispose]());

// Some tests restart the daemon.
beforeEach(() => {
  client = createClient({ address: daemon.address, namespace: "testing" });
});
afterEach(() => client[Symbol.asyncDispose]());

const noIo = { stdin: "", stdout: "", stderr: "", terminal: false };

function rootfsOf(id: string): { readonly rootfs: readonly Mount[]; readonly upper: string } {
  const directory = join(daemon.root, `layers-${id}`);
  const make = (name: string): string => `X-containerd.mkdir.path=${directory}/${name}:0755`;
  const upper = join(directory, "upper");
  const paths = [`workdir=${directory}/work`, `upperdir=${upper}`, "lowerdir={{ mount 0 }}"];
  const options = [make("upper"), make("work"), ...paths];
  const rootfs = [
    { type: "erofs", source: image, target: "", options: ["ro", "loop"] },
    { type: "format/mkdir/overlay", source: "overlay", target: "", options },
  ];
  return { rootfs, upper };
}

/** This makes a container that runs a script in a root file system of layers. */
async function container(script: string) {
  const id = `c${++count}`;
  const runtime = { name: "io.containerd.runc.v2" };
  const spec = () => [withProcessArgs("/bin/sh", "-c", script)];
  await createContainer(client, { id, snapshotter: "native", runtime, spec });
  const found = rootfsOf(id);
  await mkdir(join(found.upper, ".."));
  return { id, ...found };
}

function activeMounts(): string[] {
  const prefix = join(daemon.state, "io.containerd.mount-manager.v1.bolt/t/");
  return readMountInfo().flatMap(({ mountPoint }) => (mountPoint.startsWith(prefix) ? [mountPoint] : []));
}

/** This has garbage collected again and again, and returns how often. */
async function collectUntil(own: Client, signal: AbortSignal): Promise<number> {
  let runs = 0;
  for (; !signal.aborted; runs++) {
    await own.leases.create({ id: `run-${runs}`, labels: new Map() });
    await own.leases.delete(`run-${runs}`, { sync: true });
  }
  return runs;
}

const activations = async (): Promise<string[]> =>
  (await Array.fromAsync(client.mounts.list())).map(({ name }) => name);

it("the mounts of a task that its shim cannot make are made for it, and go with it", async () => {
  const { id, rootfs, upper } = await container("echo written > /file; exit 7");
  const task = await client.tasks.create(id, { io: noIo, rootfs });
  const info = await client.mounts.info(id);
  expect(info.labels).toEqual(new Map([["containerd.io/gc.bref.container", id]]));
  expect(info.active.map(({ type }) => type)).toEqual(["erofs"]);
  expect(info.system.map(({ type }) => type)).toEqual(["overlay"]);
  await task.start();
  expect((await task.wait()).exitStatus).toBe(7);
  expect(await readFile(join(upper, "file"), "utf8")).toBe("written\n");
  await client.tasks.delete(id);
  expect(await activations()).toEqual([]);
  expect(activeMounts()).toEqual([]);
});

it("a task that cannot be made leaves no mounts", async () => {
  const { id, rootfs } = await container("true");
  const bad = await client.tasks
    .create(id, { io: noIo, rootfs: [...rootfs, { ...rootfs[1], type: "nosuchfs" } as Mount] })
    .catch((e: unknown) => e);
  expect(bad).toBeInstanceOf(Error);
  expect(await activations()).toEqual([]);
  expect(activeMounts()).toEqual([]);
});

it("mounts left over under the id of a task give way to its own", async () => {
  const { id, rootfs } = await container("true");
  const stale = [rootfs[0] as Mount, { type: "format/bind", source: "{{ mount 0 }}", target: "", options: ["rbind"] }];
  await client.mounts.activate(id, stale, { labels: new Map([["containerd.io/gc.bref.container", id]]) });
  const task = await client.tasks.create(id, { io: noIo, rootfs });
  expect((await client.mounts.info(id)).system.map(({ type }) => type)).toEqual(["overlay"]);
  await task.start();
  await task.wait();
  await client.tasks.delete(id);
  expect(activeMounts()).toEqual([]);
});

it("a task that runs on keeps its mounts over the death of the daemon", async () => {
  const { id, rootfs } = await container("sleep 1000");
  await (await client.tasks.create(id, { io: noIo, rootfs })).start();
  await daemon.restart({ signal: "SIGKILL" });
  await using next = createClient({ address: daemon.address, namespace: "testing" });
  expect(activeMounts()).toHaveLength(1);
  expect((await next.mounts.info(id)).active).toHaveLength(1);
  const task = next.tasks.task(id);
  await task.kill({ signalNumber: 9, all: true });
  await task.wait();
  await next.tasks.delete(id);
  await expect(next.mounts.info(id)).rejects.toSatisfy(isNotFound);
  expect(activeMounts()).toEqual([]);
});

it("the mounts of a task go when its shim dies, with the daemon there or not", async () => {
  const shimPid = async (id: string): Promise<number> => {
    const binding = join(daemon.state, "io.containerd.runtime.v2.task/testing", id);
    expect(await readdir(binding)).toContain("config.json");
    const [{ pid = 0 } = {}] = await Array.fromAsync(client.tasks.list());
    const status = await readFile(`/proc/${pid}/status`, "utf8");
    return Number(/^PPid:\s*(\d+)/m.exec(status)?.[1]);
  };
  const first = await container("sleep 1000");
  await (await client.tasks.create(first.id, { io: noIo, rootfs: first.rootfs })).start();
  process.kill(await shimPid(first.id), "SIGKILL");
  for (let tries = 0; activeMounts().length > 0 && tries < 200; tries++) await sleep(50);
  expect(activeMounts()).toEqual([]);
  const second = await container("sleep 1000");
  await (await client.tasks.create(second.id, { io: noIo, rootfs: second.rootfs })).start();
  const pid = await shimPid(second.id);
  await daemon.restart({
    signal: "SIGKILL",
    whileDown: async () => void process.kill(pid, "SIGKILL"),
  });
  for (let tries = 0; activeMounts().length > 0 && tries < 200; tries++) await sleep(50);
  expect(activeMounts()).toEqual([]);
});

it("layers are applied to, and made of, mounts that need the mount manager, while garbage is collected", async () => {
  const id = `layers-${++count}`;
  await client.leases.create({ id, labels: new Map() });
  const { content, diff } = client.scoped({ lease: id });
  const directory = join(daemon.root, id);
  await mkdir(directory);
  const lower = [{ type: "erofs", source: image, target: "", options: ["ro", "loop"] }];
  const size = "X-containerd.mkfs.size=64MiB";
  const make = (name: string): string => `X-containerd.mkdir.path={{ mount 1 }}/${name}:0755`;
  const options = [
    make("upper"),
    make("work"),
    "workdir={{ mount 1 }}/work",
    "upperdir={{ mount 1 }}/upper",
    "lowerdir={{ mount 0 }}",
  ];
  const upper = [
    ...lower,
    { type: "mkfs/ext4", source: join(directory, "rw"), target: "", options: [size, "loop"] },
    { type: "format/mkdir/overlay", source: "overlay", target: "", options },
  ];
  const names = Array.from({ length: 300 }, (_, index) => `file-${index}`);
  const bytes = new TextEncoder().encode("new");
  const entries = names.map((path) => ({ path, type: "file" as const, mode: 0o644, size: 3, content: bytes }));
  const { layers, blobs } = await buildImage({ name: "example.org/layers:1", layers: [entries] });
  const [layer] = layers;
  if (layer === undefined) throw new Error("no layer");
  await writeBlob(content, id, [blobs.get(layer.digest) ?? new Uint8Array(0)], layer);
  const stop = new AbortController();
  const collecting = collectUntil(client, stop.signal);
  const applied = await diff.apply(layer, upper);
  const made = await diff.compare(lower, upper, { mediaType: MediaType.ociLayer });
  stop.abort();
  expect(await collecting).toBeGreaterThan(1);
  expect(applied.size).toBeGreaterThan(0);
  const archive = new TextDecoder().decode(await readBlob(content, made.digest, { limitBytes: 1 << 24 }));
  expect(names.filter((name) => !archive.includes(name))).toEqual([]);
  expect(archive).not.toContain("busybox");
  expect(await activations()).toEqual([]);
  expect(activeMounts()).toEqual([]);
});

it("a container runs on the erofs snapshotter, again with what it wrote, and leaves nothing mounted", async () => {
  const ctr = (...args: string[]) =>
    runProgram(launcher("ctr"), ["--address", daemon.address, "--namespace", "testing", ...args]);
  const { archive } = await busyboxImage();
  const file = join(daemon.root, "busybox.tar");
  await writeFile(file, archive);
  expect(await ctr("image", "import", "--snapshotter", "erofs", file)).toMatchObject({ code: 0 });
  const id = `erofs-${++count}`;
  const script = "id -un; cat /kept 2>/dev/null || echo first; echo kept > /kept; chmod 711 /";
  const create = ["container", "create", "--snapshotter", "erofs", "--user", "guest", BUSYBOX_IMAGE, id];
  expect(await ctr(...create, "/bin/sh", "-c", "id -un")).toMatchObject({ code: 0, stderr: "" });
  expect(await ctr("task", "start", id)).toMatchObject({ stdout: "guest\n" });
  expect(await ctr("container", "rm", id)).toMatchObject({ code: 0, stderr: "" });
  const again = `erofs-${++count}`;
  const plain = ["container", "create", "--snapshotter", "erofs", BUSYBOX_IMAGE, again, "/bin/sh", "-c", script];
  expect(await ctr(...plain)).toMatchObject({ code: 0, stderr: "" });
  for (const said of ["root\nfirst\n", "root\nkept\n"]) {
    expect(await ctr("task", "start", again)).toMatchObject({ stdout: said });
    expect(activeMounts()).toEqual([]);
  }
  expect(await ctr("container", "rm", again)).toMatchObject({ code: 0, stderr: "" });
});
