import { silentLogger } from "@berth/core/log";
import type { MetadataStore } from "@berth/core/metadata";
import { bootPlugins, definePlugin } from "@berth/plugin-core";
import { EventPlugin, GrpcPlugin, MetadataPlugin, RuntimePlugin, ShimPlugin } from "@berth/plugin-core/types";
import { temporaryDirectory } from "@berth/testing";
import { expect, it } from "vitest";

import { RecordingExchange } from "./harness.ts";
import { shimManagerPlugin, taskRuntimePlugin, tasksServicePlugin } from "../src/plugin.ts";
import { LocalShimManager } from "../src/shim-manager.ts";

async function boot(root: string, config: ReadonlyMap<string, unknown> = new Map()) {
  const events = definePlugin({ type: EventPlugin, id: "exchange", init: () => new RecordingExchange() });
  // There is no bundle to ask for.
  const metadata = definePlugin({ type: MetadataPlugin, id: "bolt", init: () => ({}) as MetadataStore });
  return await bootPlugins({
    plugins: [tasksServicePlugin, taskRuntimePlugin, shimManagerPlugin({ ownShim: "/own/shim" }), events, metadata],
    config,
    root: `${root}/root`,
    state: `${root}/state`,
    grpcAddress: "/g",
    ttrpcAddress: "/t",
    log: silentLogger,
    signal: new AbortController().signal,
    fatal: () => {},
  });
}

it("the plugins boot, and show what containerd's show", async () => {
  await using directory = await temporaryDirectory("plugins");
  await using graph = await boot(directory.path);
  const record = graph.records.find(({ id }) => id === "task");
  expect(record?.status).toBe("loaded");
  expect(record?.exports.get("log-uri-schemes")).toBe("fifo,binary,binary-v2,file");
  expect(record?.platforms.map(({ os }) => os)).toEqual(["linux"]);
  expect(graph.loaded(RuntimePlugin).size).toBe(1);
  expect(
    graph
      .loaded(GrpcPlugin)
      .get("tasks")
      ?.map(({ service }) => service.typeName),
  ).toEqual(["containerd.services.tasks.v1.Tasks"]);
});

it("the shim manager takes its configuration", async () => {
  await using directory = await temporaryDirectory("plugins");
  const table = {
    env: ["A=b"],
    default_shim: "/usr/bin/containerd-shim-runc-v2",
    grouping: "sandbox",
    socket_dir: "/s",
  };
  await using graph = await boot(directory.path, new Map([["io.containerd.shim.v1.manager", table]]));
  const manager = graph.loaded(ShimPlugin).get("manager");
  expect(manager).toBeInstanceOf(LocalShimManager);
  // Narrowed by the line above.
  expect((manager as LocalShimManager).options).toMatchObject({
    env: expect.arrayContaining(["A=b"]),
    defaultShim: "/usr/bin/containerd-shim-runc-v2",
    pooling: false,
    grouping: "sandbox",
    socketDir: "/s",
    poolSocketDir: "/s",
    maxContainersPerShim: 64,
  });
});
