import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Introspection } from "@berth/api/containerd/services/introspection/v1/introspection";
import { Health } from "@berth/api/grpc/health/v1/health";
import type { PluginRecord } from "@berth/core/introspection";
import { silentLogger } from "@berth/core/log";
import { Code, codeOf } from "@berth/errors";
import { createClient, createRouterTransport } from "@connectrpc/connect";
import { describe, expect, it } from "vitest";

import { daemonUuid } from "./daemon-uuid.ts";
import { createDeprecationLog } from "./deprecation-log.ts";
import { createHealthService } from "./health-service.ts";
import { createIntrospectionService } from "./introspection-service.ts";

const record = (id: string, extra: Partial<PluginRecord> = {}): PluginRecord => ({
  type: "io.containerd.snapshotter.v1",
  id,
  requires: [],
  platforms: [{ os: "linux", architecture: "amd64" }],
  exports: new Map([["root", "/r"]]),
  capabilities: ["rebase"],
  status: "loaded",
  ...extra,
});

const records = [record("native"), record("btrfs", { status: "skipped", error: new Error("no btrfs: skip plugin") })];
const answering = { type: "io.containerd.runtime.v2", id: "task" };
const withInfo = record("task", {
  type: answering.type,
  info: async ({ value }) => ({ typeUrl: "example.Answer", value: Uint8Array.of(...value, 2) }),
});
const deprecations = createDeprecationLog({ log: silentLogger, now: () => 1500 });
deprecations.emit("io.containerd.deprecation/x", "first");
deprecations.emit("io.containerd.deprecation/x", "second");

const transport = createRouterTransport(({ service }) => {
  service(
    Introspection,
    createIntrospectionService({ records: [...records, withInfo], deprecations, uuid: async () => "u" }),
  );
  service(Health, createHealthService());
});

describe("introspection service", () => {
  const client = createClient(Introspection, transport);

  it("lists plugins in order with what they export and why they did not load", async () => {
    const { plugins } = await client.plugins({});
    expect(plugins.map(({ id }) => id)).toEqual(["native", "btrfs", "task"]);
    expect(plugins[0]).toMatchObject({ exports: { root: "/r" }, capabilities: ["rebase"] });
    expect(plugins[0]?.initErr).toBeUndefined();
    expect(plugins[1]?.initErr).toMatchObject({ code: Code.Unknown, message: "no btrfs: skip plugin" });
  });

  it.each([
    [["id==btrfs"], ["btrfs"]],
    [["type~=snapshotter"], ["native", "btrfs"]],
    [["id==none"], []],
  ])("plugins with filters %j gives %j", async (filters, expected) => {
    expect((await client.plugins({ filters })).plugins.map(({ id }) => id)).toEqual(expected);
  });

  it("refuses a filter that is none", async () => {
    expect(codeOf(await client.plugins({ filters: ["=="] }).catch((e: unknown) => e))).toBe(Code.InvalidArgument);
  });

  it("tells who the daemon is, with each deprecation once", async () => {
    const server = await client.server({});
    expect(server).toMatchObject({ uuid: "u", pid: BigInt(process.pid) });
    expect(server.pidns).toBeGreaterThan(0n);
    expect(server.deprecations).toMatchObject([{ id: "io.containerd.deprecation/x", message: "second" }]);
  });

  it.each([
    ["nothing", Code.NotFound],
    ["btrfs", Code.FailedPrecondition],
    ["native", Code.Unimplemented],
  ])("pluginInfo of %s ends with code %s", async (id, code) => {
    const type = "io.containerd.snapshotter.v1";
    const options = { typeUrl: "example.Question", value: new Uint8Array(0) };
    expect(codeOf(await client.pluginInfo({ type, id, options }).catch((e: unknown) => e))).toBe(code);
  });

  it("pluginInfo passes a question on to a plugin that answers", async () => {
    const question = { typeUrl: "example.Question", value: Uint8Array.of(1) };
    const { plugin, extra } = await client.pluginInfo({ ...answering, options: question });
    expect(plugin).toMatchObject(answering);
    expect(extra).toMatchObject({ typeUrl: "example.Answer", value: Uint8Array.of(1, 2) });
  });

  it("pluginInfo shows the record of any plugin, whether it runs or not", async () => {
    const type = "io.containerd.snapshotter.v1";
    expect((await client.pluginInfo({ type, id: "native" })).plugin).toMatchObject({ type, id: "native" });
    const { plugin, extra } = await client.pluginInfo({ type, id: "btrfs" });
    expect(plugin?.initErr).toBeDefined();
    expect(extra).toBeUndefined();
    expect(codeOf(await client.pluginInfo({ type, id: "nobody" }).catch((e: unknown) => e))).toBe(Code.NotFound);
  });
});

describe("health service", () => {
  const client = createClient(Health, transport);

  it("serves as a whole and knows no single service", async () => {
    expect((await client.check({})).status).toBe(1);
    expect(codeOf(await client.check({ service: "x" }).catch((e: unknown) => e))).toBe(Code.NotFound);
  });

  it("keeps a watch open until its caller leaves", async () => {
    const controller = new AbortController();
    const seen: number[] = [];
    const watch = (async () => {
      for await (const { status } of client.watch({}, { signal: controller.signal })) {
        seen.push(status);
        controller.abort();
      }
    })();
    expect(codeOf(await watch.catch((e: unknown) => e))).toBe(Code.Canceled);
    expect(seen).toEqual([1]);
  });
});

describe("daemonUuid", () => {
  it("is made once and kept", async () => {
    const directory = await mkdtemp(join(tmpdir(), "berth-uuid-"));
    try {
      const uuid = await daemonUuid(join(directory, "sub"));
      expect(uuid).toMatch(/^[0-9a-f-]{36}$/);
      expect(await daemonUuid(join(directory, "sub"))).toBe(uuid);
      expect(await readFile(join(directory, "sub", "uuid"), "utf8")).toBe(uuid);
    } finally {
      await rm(directory, { recursive: true });
    }
  });
});
