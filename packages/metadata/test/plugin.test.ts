import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { createLocalContentStore } from "@berth/content";
import type { EventExchange } from "@berth/core/events";
import { silentLogger } from "@berth/core/log";
import { Code, codeOf, messageOf } from "@berth/errors";
import type { Plugin } from "@berth/plugin-core";
import { bootPlugins, definePlugin } from "@berth/plugin-core";
import {
  ContentPlugin,
  EventPlugin,
  GcPlugin,
  GrpcPlugin,
  LeasePlugin,
  MetadataPlugin,
  SandboxStorePlugin,
} from "@berth/plugin-core/types";
import { temporaryDirectory } from "@berth/testing";
import { describe, expect, it } from "vitest";

import * as plugins from "../src/plugin.ts";
import { testNamespace } from "./daemon-storage.ts";

const exchange: EventExchange = { publish: async () => {}, forward: async () => {}, subscribe: async function* () {} };

function boot(root: string, config: Record<string, unknown> = {}) {
  const base: Plugin[] = [
    definePlugin({
      type: ContentPlugin,
      id: "content",
      init: () => createLocalContentStore({ root: `${root}/content` }),
    }),
    definePlugin({ type: EventPlugin, id: "exchange", init: () => exchange }),
  ];
  return bootPlugins({
    plugins: [...base, ...Object.values(plugins)],
    root,
    state: root,
    grpcAddress: "",
    ttrpcAddress: "",
    fatal: () => {},
    config: new Map(Object.entries(config)),
    log: silentLogger,
    signal: new AbortController().signal,
  });
}

describe("plugins", () => {
  it("boot with containerd's ids, exports and defaults, and stop", async () => {
    await using directory = await temporaryDirectory("metadata");
    await using graph = await boot(directory.path);
    expect(graph.records.filter(({ status }) => status !== "loaded")).toEqual([]);
    const found = graph.records.find(({ id }) => id === "bolt");
    const path = join(directory.path, "io.containerd.metadata.v1.bolt", "meta.mdb");
    expect(found?.exports).toEqual(
      new Map([
        ["policy", "shared"],
        ["path", path],
      ]),
    );
    expect(graph.records.find(({ id }) => id === "scheduler")?.exports.get("PauseThreshold")).toBe("0.02");
    expect([...graph.loaded(GrpcPlugin).keys()].toSorted()).toEqual([
      "containers",
      "images",
      "leases",
      "namespaces",
      "sandboxes",
    ]);
    const sandbox = { id: "s", labels: new Map(), runtime: { name: "r" }, sandboxer: "", extensions: new Map() };
    await graph.loaded(SandboxStorePlugin).get("local")?.(testNamespace).create(sandbox);
    const leases = graph.loaded(LeasePlugin).get("manager")?.(testNamespace);
    await leases?.create({ id: "l", labels: new Map() });
    // Through the scheduler.
    await leases?.delete("l", { sync: true });
    await graph.loaded(GcPlugin).get("scheduler")?.collect();
  });

  it("refuses a root with containerd's own database", async () => {
    await using directory = await temporaryDirectory("metadata");
    const root = join(directory.path, "io.containerd.metadata.v1.bolt");
    await mkdir(root);
    await writeFile(join(root, "meta.db"), "");
    await using graph = await boot(directory.path);
    const { error } = graph.records.find(({ id }) => id === "bolt") ?? {};
    expect(codeOf(error)).toBe(Code.FailedPrecondition);
    expect(messageOf(error)).toContain("meta.db");
    expect(messageOf(error)).not.toContain("\n");
    expect(graph.loaded(MetadataPlugin).size).toBe(0);
  });

  it.each([
    ["io.containerd.metadata.v1.bolt", { content_sharing_policy: "open" }, "content_sharing_policy"],
    ["io.containerd.gc.v1.scheduler", { startup_delay: "soon" }, "startup_delay"],
    ["io.containerd.gc.v1.scheduler", { pause: 1 }, "pause"],
  ])("a wrong value in the table of %s names its place", async (uri, table, place) => {
    await using directory = await temporaryDirectory("metadata");
    await using graph = await boot(directory.path, { [uri]: table });
    const { error } = graph.records.find(({ type, id }) => `${type}.${id}` === uri) ?? {};
    expect(codeOf(error)).toBe(Code.InvalidArgument);
    expect(messageOf(error)).toContain(place);
  });
});
