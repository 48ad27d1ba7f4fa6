import { Version } from "@berth/api/containerd/services/version/v1/version";
import { silentLogger } from "@berth/core/log";
import { Code, codeOf, unavailable } from "@berth/errors";
import { ChildReaper } from "@berth/linux/process";
import { all, definePlugin, one, type Plugin, serviceRegistration, skipPlugin } from "@berth/plugin-core";
import { InternalPlugin, TtrpcPlugin } from "@berth/plugin-core/types";
import { afterAll, describe, expect, it } from "vitest";

import { bootShimPlugins, servicesOf } from "./boot-shim-plugins.ts";
import { EventPublisherPlugin } from "./plugin-types.ts";

describe("plugins of a shim", () => {
  const reaper = new ChildReaper({ mode: "registered" });
  afterAll(() => reaper[Symbol.dispose]());
  const published: string[] = [];
  const boot = (plugins: readonly Plugin[]) =>
    bootShimPlugins({
      context: {
        namespace: "ns",
        reaper,
        log: silentLogger,
        publish: (topic) => void published.push(topic),
        recordExit: () => {},
        forgetExit: () => {},
      },
      services: [serviceRegistration(Version, {})],
      plugins,
      bundle: "/bundle",
      grpcAddress: "/d.sock",
      ttrpcAddress: "/d.ttrpc",
      fatal: () => {},
    });
  const serving = (id: string): Plugin =>
    definePlugin({ type: TtrpcPlugin, id, init: () => [serviceRegistration(Version, {})] });

  it("see the publisher, the services and a directory below the bundle", async () => {
    const seen: unknown[] = [];
    const plugin = definePlugin({
      type: InternalPlugin,
      id: "mine",
      requires: { publisher: one(EventPublisherPlugin), services: all(TtrpcPlugin) },
      init: ({ plugins, stateDir, resources }) => {
        seen.push(stateDir, [...plugins.services.keys()]);
        plugins.publisher.publish("/mine", Version.method.version.output, {});
        resources.defer(() => void seen.push("released"));
      },
    });
    await using graph = await boot([plugin]);
    expect(servicesOf(graph).map(({ service }) => service.typeName)).toEqual([Version.typeName]);
    await graph[Symbol.asyncDispose]();
    expect(seen).toEqual(["/bundle/io.containerd.internal.v1.mine", ["task"], "released"]);
    expect(published).toEqual(["/mine"]);
  });

  it("may skip, but not fail: what was loaded before is released", async () => {
    let released = 0;
    const early = definePlugin({
      type: InternalPlugin,
      id: "early",
      init: ({ resources }) => resources.defer(() => void (released += 1)),
    });
    const skips = definePlugin({
      type: InternalPlugin,
      id: "skips",
      init: () => {
        throw skipPlugin("no such kernel");
      },
    });
    const fails = definePlugin({
      type: InternalPlugin,
      id: "fails",
      init: () => {
        throw unavailable("gone");
      },
    });
    await using graph = await boot([early, skips]);
    expect(graph.records.find(({ id }) => id === "skips")?.status).toBe("skipped");
    expect(released).toBe(0);
    await expect(boot([early, fails]).catch(codeOf)).resolves.toBe(Code.Unavailable);
    expect(released).toBe(1);
  });

  it("serve each service once", async () => {
    await using graph = await boot([serving("second")]);
    expect(() => servicesOf(graph)).toThrow();
  });
});
