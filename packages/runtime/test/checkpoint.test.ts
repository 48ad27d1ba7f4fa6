import { readdir, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { OptionsSchema } from "@berth/api/containerd/runc/v1/options";
import { readTar, writeTar } from "@berth/archive";
import type { TarEntryWithContent } from "@berth/archive";
import { streamBlob } from "@berth/core/content";
import type { MetadataStore } from "@berth/core/metadata";
import type { Task, TaskRuntime } from "@berth/core/runtime";
import { codeName, codeOf, unknown } from "@berth/errors";
import { parseDigest } from "@berth/oci";
import { MemoryContentStore } from "@berth/testing";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import { type Client, createClient, createRouterTransport } from "@connectrpc/connect";
import { beforeEach, expect, it } from "vitest";

import { createTasksService, Tasks } from "../src/service.ts";

const headers = { headers: { "containerd-namespace": "testing" } };
const containerId = "c1";
const spec = { typeUrl: "types.containerd.io/opencontainers/runtime-spec/1/Spec", value: Uint8Array.of(1, 2) };
const IMAGES = "application/vnd.containerd.container.criu.checkpoint.criu.tar";
const CONFIG = "application/vnd.containerd.container.checkpoint.config.v1+proto";

let content: MemoryContentStore;
let tasks: Client<typeof Tasks>;
let failing: "" | "checkpoint" | "create" | "start";
/** What a restored task found where it was to begin from. */
let restored: Record<string, string>;
let directories: string[];
/** What a checkpoint waits for before it writes. */
let writing: Promise<void> | undefined;

/** A runtime whose one task writes the images that it is asked for, as CRIU would. */
function fakeRuntime(): TaskRuntime {
  const read = async (path: string): Promise<void> => {
    for (const name of await readdir(path)) restored[name] = await readFile(join(path, name), "utf8");
  };
  let from = "";
  const task = {
    id: containerId,
    checkpoint: async (path: string, { signal }: { readonly signal?: AbortSignal }) => {
      directories.push(path);
      if (failing === "checkpoint") throw unknown("criu: not found");
      const given = new Promise<never>((_, reject) => signal?.addEventListener("abort", () => reject(signal.reason)));
      await (writing === undefined ? undefined : Promise.race([writing, given]));
      for (const name of ["pages-1.img", "core-1.img"]) await writeFile(join(path, name), `${name} bytes`);
    },
    namespace: "testing",
    state: async () => ({ pid: 7 }),
    wait: () => new Promise<never>(() => {}),
    start: async () => {
      if (from !== "") await read(from);
      if (failing === "start") throw unknown("no start");
      return 7;
    },
  };
  return {
    // The service uses nothing else of a task here.
    get: () => task as unknown as Task,
    list: () => [],
    create: async (_namespace, _id, { checkpoint }) => {
      from = checkpoint;
      directories.push(checkpoint);
      if (failing === "create") throw unknown("no create");
      return task as unknown as Task;
    },
    delete: async () => ({ pid: 7, exitStatus: 0, exitedAtNs: 1n }),
  };
}

beforeEach(() => {
  content = new MemoryContentStore();
  failing = "";
  restored = {};
  directories = [];
  writing = undefined;
  const container = {
    id: containerId,
    runtime: { name: "r.v2" },
    spec,
    snapshotKey: "",
    snapshotter: "",
    sandboxId: "",
  };
  const stores = { containers: { get: async () => container }, content };
  // The service reads containers and content, and nothing else of the stores is there.
  const metadata = { namespace: () => stores } as unknown as MetadataStore;
  const transport = createRouterTransport((router) => {
    router.service(Tasks, createTasksService({ runtime: fakeRuntime(), metadata }));
  });
  tasks = createClient(Tasks, transport);
});

async function codeThrown(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => "ok",
    (error: unknown) => codeName(codeOf(error)),
  );
}

const leftOver = async (): Promise<string[]> => {
  const names = await readdir(tmpdir());
  return directories.filter((path) => names.includes(path.slice(tmpdir().length + 1)));
};

async function bytesOf(digest: string): Promise<Uint8Array> {
  return new Uint8Array(Buffer.concat(await Array.fromAsync(streamBlob(content, parseDigest(digest)))));
}

async function store(entries: readonly TarEntryWithContent[]): Promise<string> {
  await using writer = await content.writer("test");
  for await (const chunk of writeTar(entries)) await writer.write(chunk);
  return (await writer.commit()).digest;
}

it("a checkpoint without a directory goes into the content store, and a task is restored from there", async () => {
  const { descriptors } = await tasks.checkpoint({ containerId }, headers);
  expect(descriptors.map(({ mediaType }) => mediaType)).toEqual([IMAGES, CONFIG]);
  const [images, config] = descriptors;
  const names: string[] = [];
  for await (const { header } of readTar([await bytesOf(images?.digest ?? "")])) names.push(header.path);
  expect(names).toEqual(["core-1.img", "pages-1.img"]);
  const specBytes = await bytesOf(config?.digest ?? "");
  expect(BigInt(specBytes.length)).toBe(config?.size);
  expect(fromBinary(AnySchema, specBytes)).toMatchObject(spec);
  expect(await leftOver()).toEqual([]);
  // The same again is the same blobs.
  expect((await tasks.checkpoint({ containerId }, headers)).descriptors).toEqual(descriptors);
  await tasks.create({ containerId, checkpoint: { mediaType: IMAGES, digest: images?.digest ?? "" } }, headers);
  expect(await leftOver()).toHaveLength(1);
  await tasks.start({ containerId }, headers);
  expect(restored).toEqual({ "core-1.img": "core-1.img bytes", "pages-1.img": "pages-1.img bytes" });
  expect(await leftOver()).toEqual([]);
});

it("a task is restored from the directory that its runc options name, unless the checkpoint names one", async () => {
  const value = toBinary(OptionsSchema, create(OptionsSchema, { criuImagePath: "/images" }));
  const options = { typeUrl: OptionsSchema.typeName, value };
  await tasks.create({ containerId, options }, headers);
  await tasks.create({ containerId, options, checkpoint: { annotations: { RestoreFromPath: "/other" } } }, headers);
  expect(directories).toEqual(["/images", "/other"]);
});

it.each(["checkpoint", "create", "start"] as const)("a %s that fails leaves no directory", async (what) => {
  const digest = await store([{ path: "core-1.img", type: "file", size: 1, content: Uint8Array.of(1) }]);
  failing = what;
  const restore = tasks.create.bind(tasks, { containerId, checkpoint: { mediaType: IMAGES, digest } }, headers);
  if (what === "checkpoint") expect(await codeThrown(tasks.checkpoint({ containerId }, headers))).toBe("unknown");
  else if (what === "create") expect(await codeThrown(restore())).toBe("unknown");
  else {
    await restore();
    expect(await codeThrown(tasks.start({ containerId }, headers))).toBe("unknown");
    // It may be started again, or deleted.
    expect(await leftOver()).toHaveLength(1);
    await tasks.delete({ containerId }, headers);
  }
  expect(directories).toHaveLength(1);
  expect(await leftOver()).toEqual([]);
});

it("the directory of a checkpoint that is given up stays until the images are written, and goes then", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  writing = promise;
  const controller = new AbortController();
  const given = codeThrown(tasks.checkpoint({ containerId }, { ...headers, signal: controller.signal }));
  await expect.poll(() => directories).toHaveLength(1);
  controller.abort();
  expect(await given).toBe("canceled");
  await new Promise((settled) => setTimeout(settled, 50));
  expect(await leftOver()).toHaveLength(1);
  resolve();
  await expect.poll(() => leftOver()).toEqual([]);
});

it.each([
  ["a path that leads out", { path: "../x", type: "file" }],
  ["a path below", { path: "a/b", type: "file" }],
  ["an absolute path", { path: "/x", type: "file" }],
  ["a symbolic link", { path: "x", type: "symlink", linkPath: "/etc/passwd" }],
  ["a hard link", { path: "x", type: "link", linkPath: "y" }],
  ["a device", { path: "x", type: "char" }],
  ["a directory", { path: "x/", type: "directory" }],
] as const)("a checkpoint with %s is refused", async (_, entry) => {
  const digest = await store([entry]);
  const request = { containerId, checkpoint: { mediaType: IMAGES, digest } };
  expect(await codeThrown(tasks.create(request, headers))).toBe("invalid_argument");
  expect(directories).toEqual([]);
});

it("a checkpoint of another type, and one that is not there, are refused", async () => {
  const missing = `sha256:${"0".repeat(64)}`;
  for (const [mediaType, code] of [
    ["application/octet-stream", "unimplemented"],
    [IMAGES, "not_found"],
  ] as const) {
    expect(await codeThrown(tasks.create({ containerId, checkpoint: { mediaType, digest: missing } }, headers))).toBe(
      code,
    );
  }
});
