import { OptionsSchema } from "@berth/api/containerd/runc/v1/options";
import { Status } from "@berth/api/containerd/v1/types/task";
import type { Container } from "@berth/core/containers";
import type { MetadataStore, NamespacedStores } from "@berth/core/metadata";
import { codeName, codeOf, notFound } from "@berth/errors";
import { debianTool } from "@berth/testing";
import { type Client, createClient, createRouterTransport } from "@connectrpc/connect";
import { afterAll, beforeAll, expect, it } from "vitest";

import { createTasksService, Tasks } from "../src/service.ts";
import { type Harness, processSpec, startHarness } from "./harness.ts";

let harness: Harness;
let tasks: Client<typeof Tasks>;
const containers = new Map<string, Container>();
const headers = { headers: { "containerd-namespace": "testing" } };

beforeAll(async () => {
  harness = await startHarness({ defaultShim: debianTool("containerd-shim-runc-v2") });
  const transport = createRouterTransport((router) => {
    router.service(Tasks, createTasksService({ runtime: harness.runtime, metadata: metadataOf(harness) }));
  });
  tasks = createClient(Tasks, transport);
});

afterAll(async () => {
  await harness[Symbol.asyncDispose]();
});

/** Container records and snapshots as the service sees them. */
function metadataOf(source: Harness): MetadataStore {
  const { rootfs } = source.options([]);
  const stores = {
    containers: {
      get: async (id: string) => {
        const container = containers.get(id);
        if (container === undefined) throw notFound(`container ${id}`);
        return container;
      },
    },
    snapshotter: () => ({ mounts: async () => rootfs }),
  };
  // The service reads records and mounts; nothing else of the stores is there.
  return { namespace: () => stores as unknown as NamespacedStores } as unknown as MetadataStore;
}

function addContainer(id: string, args: readonly string[], change: Partial<Container> = {}): string {
  containers.set(id, {
    id,
    labels: new Map(),
    image: "",
    runtime: { name: "io.containerd.runc.v2" },
    spec: harness.options(args).spec,
    snapshotter: "native",
    snapshotKey: id,
    extensions: new Map(),
    sandboxId: "",
    createdAt: 0,
    updatedAt: 0,
    ...change,
  });
  return id;
}

async function codeThrown(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => "ok",
    (error: unknown) => codeName(codeOf(error)),
  );
}

it("a task goes through its life, with the snapshot's mounts", async () => {
  const containerId = addContainer("s1", ["sleep", "1000"]);
  const { pid } = await tasks.create({ containerId }, headers);
  expect(pid).toBeGreaterThan(0);
  expect((await tasks.get({ containerId }, headers)).process).toMatchObject({
    containerId: "",
    id: "s1",
    pid,
    status: Status.CREATED,
    // Go's word for never, whichever shim it is
    exitedAt: { seconds: -62_135_596_800n, nanos: 0 },
  });
  expect((await tasks.start({ containerId }, headers)).pid).toBe(pid);
  await tasks.exec({ containerId, execId: "e1", spec: processSpec(["sh", "-c", "exit 4"]) }, headers);
  const waiting = tasks.wait({ containerId, execId: "e1" }, headers);
  await tasks.start({ containerId, execId: "e1" }, headers);
  expect((await waiting).exitStatus).toBe(4);
  expect((await tasks.get({ containerId, execId: "e1" }, headers)).process?.id).toBe("e1");
  expect(await tasks.deleteProcess({ containerId, execId: "e1" }, headers)).toMatchObject({ id: "e1", exitStatus: 4 });
  expect((await tasks.listPids({ containerId }, headers)).processes.map((each) => each.pid)).toEqual([pid]);
  expect((await tasks.list({}, headers)).tasks.map(({ id, status }) => [id, status])).toEqual([["s1", Status.RUNNING]]);
  await tasks.pause({ containerId }, headers);
  await tasks.resume({ containerId }, headers);
  const resources = {
    typeUrl: "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources",
    value: new TextEncoder().encode('{"pids":{"limit":50}}'),
  };
  await tasks.update({ containerId, resources }, headers);
  await tasks.closeIO({ containerId, stdin: true }, headers);
  for (const [filters, count] of [
    [[], 1],
    [["id==s1"], 1],
    [["id==other"], 0],
    [["namespace==testing"], 1],
  ] as const) {
    expect((await tasks.metrics({ filters: [...filters] }, headers)).metrics).toHaveLength(count);
  }
  expect(await codeThrown(tasks.create({ containerId }, headers))).toBe("already_exists");
  // There is no CRIU here, which the shim says in its own words.
  expect(await codeThrown(tasks.checkpoint({ containerId }, headers))).toBe("unknown");
  expect(await codeThrown(tasks.deleteProcess({ containerId }, headers))).toBe("invalid_argument");
  await tasks.kill({ containerId, signal: 9 }, headers);
  const { exitStatus, exitedAt } = await tasks.wait({ containerId }, headers);
  expect(exitStatus).toBe(137);
  expect(Number(exitedAt?.seconds)).toBeGreaterThan(Date.now() / 1000 - 60);
  expect(await codeThrown(tasks.kill({ containerId, signal: 9 }, headers))).toBe("not_found");
  expect(await tasks.delete({ containerId }, headers)).toMatchObject({ id: "s1", pid, exitStatus: 137 });
  expect((await tasks.list({}, headers)).tasks).toEqual([]);
});

it.each(["../evil", "a/b", "-a", "a".repeat(77)])(
  "an exec with the id %j is refused, whichever the shim",
  async (execId) => {
    const containerId = addContainer("s3", ["sleep", "1000"]);
    await tasks.create({ containerId }, headers);
    const spec = processSpec(["true"]);
    expect(await codeThrown(tasks.exec({ containerId, execId, spec }, headers))).toBe("invalid_argument");
    await tasks.delete({ containerId }, headers);
  },
);

it("create refuses what is wrong", async () => {
  addContainer("s2", ["true"]);
  const { spec: _spec, ...record } = containers.get("s2") as Container; // just added
  containers.set("nospec", { ...record, id: "nospec" });
  addContainer("norun", ["true"], { runtime: { name: "io.containerd.nothing.v9" } });
  const badOptions = { typeUrl: OptionsSchema.typeName, value: new Uint8Array([0xff]) };
  const rows = [
    [{ containerId: "none" }, "not_found"],
    [{ containerId: "nospec" }, "invalid_argument"],
    [{ containerId: "norun" }, "not_found"],
    [{ containerId: "s2", runtimePath: "/no/shim" }, "not_found"],
    [{ containerId: "s2", options: badOptions }, "invalid_argument"],
    [{ containerId: "s2", checkpoint: { digest: "sha256:0f" } }, "unimplemented"],
    [{ containerId: "s2", taskApiAddress: "http://x", taskApiVersion: 3 }, "invalid_argument"],
    [{ containerId: "s2", taskApiAddress: "ttrpc+vsock://2:1", taskApiVersion: 3 }, "unimplemented"],
    [{ containerId: "s2", taskApiAddress: "ttrpc+unix:///s", taskApiVersion: 2 }, "unimplemented"],
  ] as const;
  for (const [request, code] of rows)
    expect([request, await codeThrown(tasks.create(request, headers))]).toEqual([request, code]);
  expect(harness.runtime.list(harness.namespace)).toEqual([]);
});

it.each([
  ["start", () => tasks.start({ containerId: "x" }, headers)],
  ["delete", () => tasks.delete({ containerId: "x" }, headers)],
  ["deleteProcess", () => tasks.deleteProcess({ containerId: "x", execId: "e" }, headers)],
  ["get", () => tasks.get({ containerId: "x" }, headers)],
  ["kill", () => tasks.kill({ containerId: "x", signal: 9 }, headers)],
  ["exec", () => tasks.exec({ containerId: "x", execId: "e", spec: processSpec([]) }, headers)],
  ["resizePty", () => tasks.resizePty({ containerId: "x" }, headers)],
  ["closeIO", () => tasks.closeIO({ containerId: "x" }, headers)],
  ["pause", () => tasks.pause({ containerId: "x" }, headers)],
  ["resume", () => tasks.resume({ containerId: "x" }, headers)],
  ["listPids", () => tasks.listPids({ containerId: "x" }, headers)],
  ["checkpoint", () => tasks.checkpoint({ containerId: "x" }, headers)],
  ["update", () => tasks.update({ containerId: "x", resources: processSpec([]) }, headers)],
  ["wait", () => tasks.wait({ containerId: "x" }, headers)],
])("%s of a task that is not there is not_found", async (_, call) => {
  expect(await codeThrown(call())).toBe("not_found");
});

it("a call without a namespace, an exec without an id and a bad filter are refused", async () => {
  expect(await codeThrown(tasks.list({}))).toBe("failed_precondition");
  expect(await codeThrown(tasks.exec({ containerId: "x", spec: processSpec([]) }, headers))).toBe("invalid_argument");
  expect(await codeThrown(tasks.metrics({ filters: ["id=="] }, headers))).toBe("invalid_argument");
});
