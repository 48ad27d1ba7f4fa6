import { silentLogger } from "@berth/core/log";
import { Code, codeOf, messageOf } from "@berth/errors";
import { describe, expect, it } from "vitest";
import { z } from "zod";

import { bootPlugins } from "./boot-plugins.ts";
import type { Plugin } from "./define-plugin.ts";
import { definePlugin } from "./define-plugin.ts";
import { pluginType } from "./plugin-type.ts";
import { all, one, optional } from "./requirement.ts";
import { skipPlugin } from "./skip-plugin.ts";

const Base = pluginType<string>("test.base.v1");
const Top = pluginType<string>("test.top.v1");

function options(
  plugins: readonly Plugin[],
  extra: { required?: string[]; disabled?: string[]; config?: Map<string, unknown> } = {},
) {
  return {
    plugins,
    root: "/root-dir",
    state: "/state-dir",
    grpcAddress: "/run/x.sock",
    ttrpcAddress: "/run/x.sock.ttrpc",
    log: silentLogger,
    signal: new AbortController().signal,
    fatal: () => {},
    ...extra,
  };
}

const base = (id: string, events: string[] = []) =>
  definePlugin({
    type: Base,
    id,
    init: ({ resources }) => {
      events.push(`start ${id}`);
      resources.defer(() => void events.push(`stop ${id}`));
      return `base-${id}`;
    },
  });

const broken = (id: string, error: Error) =>
  definePlugin({
    type: Base,
    id,
    init: () => {
      throw error;
    },
  });

describe("bootPlugins", () => {
  it("initialises what is required first and keeps the order given otherwise", async () => {
    const top = definePlugin({
      type: Top,
      id: "t",
      requires: { bases: all(Base) },
      init: ({ plugins }) => [...plugins.bases.values()].join(),
    });
    await using graph = await bootPlugins(options([top, base("b"), base("a")]));
    expect(graph.records.map(({ id }) => id)).toEqual(["b", "a", "t"]);
    expect(graph.loaded(Top).get("t")).toBe("base-b,base-a");
  });

  it("releases in reverse order, and at once what a failing init had taken", async () => {
    const events: string[] = [];
    const failing = definePlugin({
      type: Top,
      id: "failing",
      requires: { base: one(Base, "a") },
      init: ({ resources }) => {
        resources.defer(() => void events.push("undo failing"));
        throw new Error("no");
      },
    });
    await (await bootPlugins(options([base("a", events), base("b", events), failing])))[Symbol.asyncDispose]();
    expect(events).toEqual(["start a", "start b", "undo failing", "stop b", "stop a"]);
  });

  it("records a skipped and a failed plugin and goes on", async () => {
    await using graph = await bootPlugins(
      options([broken("skipped", skipPlugin("no disk")), broken("failed", new Error("bang")), base("good")]),
    );
    expect(graph.records.map(({ id, status }) => [id, status])).toEqual([
      ["skipped", "skipped"],
      ["failed", "failed"],
      ["good", "loaded"],
    ]);
  });

  it("passes over plugins that did not load: one takes the next, optional gets undefined", async () => {
    const top = definePlugin({
      type: Top,
      id: "t",
      requires: { first: one(Base), named: optional(Base, "failed") },
      init: ({ plugins }) => `${plugins.first} ${plugins.named}`,
    });
    await using graph = await bootPlugins(options([broken("failed", new Error("bang")), base("good"), top]));
    expect(graph.loaded(Top).get("t")).toBe("base-good undefined");
  });

  it("fails the plugin that requires one of a type of which none loaded", async () => {
    const top = definePlugin({ type: Top, id: "t", requires: { base: one(Base) }, init: () => "" });
    await using graph = await bootPlugins(options([broken("x", skipPlugin("no disk")), top]));
    expect(graph.records.at(-1)).toMatchObject({ id: "t", status: "failed" });
    expect(messageOf(graph.records.at(-1)?.error)).toContain("test.base.v1.x");
  });

  it("fails the plugin that requires the only one of a type of which several loaded, and names them", async () => {
    const top = definePlugin({ type: Top, id: "t", requires: { base: one(Base) }, init: () => "" });
    const named = definePlugin({
      type: Top,
      id: "n",
      requires: { base: one(Base, "b") },
      init: ({ plugins }) => plugins.base,
    });
    await using graph = await bootPlugins(options([base("a"), base("b"), top, named]));
    const [record] = graph.records.filter(({ id }) => id === "t");
    expect(record?.status).toBe("failed");
    expect(codeOf(record?.error)).toBe(Code.FailedPrecondition);
    expect(messageOf(record?.error)).toContain("test.base.v1.a, test.base.v1.b");
    expect(graph.loaded(Top).get("n")).toBe("base-b");
  });

  it.each([
    ["failed", { required: ["test.base.v1.bad"] }, Code.FailedPrecondition],
    ["not included", { required: ["test.base.v1.other"] }, Code.FailedPrecondition],
    ["disabled", { required: ["test.base.v1.good"], disabled: ["test.base.v1.good"] }, Code.FailedPrecondition],
    ["badly named", { required: ["good"] }, Code.InvalidArgument],
  ])("stops the boot when a required plugin is %s", async (_, extra, code) => {
    const error = await bootPlugins(options([broken("bad", new Error("bang")), base("good")], extra)).catch(
      (e: unknown) => e,
    );
    expect(codeOf(error)).toBe(code);
  });

  it("releases everything when the boot fails", async () => {
    const events: string[] = [];
    await expect(bootPlugins(options([base("a", events)], { required: ["test.base.v1.other"] }))).rejects.toThrow();
    expect(events).toEqual(["start a", "stop a"]);
  });

  it("reports a loop as its whole path", async () => {
    const a = definePlugin({ type: Base, id: "a", requires: { t: one(Top) }, init: () => "" });
    const b = definePlugin({ type: Top, id: "b", requires: { b: one(Base) }, init: () => "" });
    const error: unknown = await bootPlugins(options([a, b])).catch((e: unknown) => e);
    expect(codeOf(error)).toBe(Code.InvalidArgument);
    expect(messageOf(error)).toContain("test.base.v1.a → test.top.v1.b → test.base.v1.a");
  });

  it("gives the TOML path of a wrong value, and the plugin fails", async () => {
    const plugin = definePlugin({
      type: Base,
      id: "a",
      config: z.object({ count: z.number().default(3) }),
      init: ({ config }) => String(config.count),
    });
    await using graph = await bootPlugins(options([plugin], { config: new Map([["test.base.v1.a", { count: "x" }]]) }));
    expect(codeOf(graph.records[0]?.error)).toBe(Code.InvalidArgument);
    expect(messageOf(graph.records[0]?.error)).toContain('plugins."test.base.v1.a".count');
  });

  it("stops between plugins when the signal fires", async () => {
    const controller = new AbortController();
    const stopping = definePlugin({ type: Base, id: "stop", init: () => (controller.abort(), "") });
    const events: string[] = [];
    await expect(
      bootPlugins({ ...options([base("a", events), stopping, base("b", events)]), signal: controller.signal }),
    ).rejects.toThrow();
    expect(events).toEqual(["start a", "stop a"]);
  });
});
