import { join } from "node:path";

import { silentLogger } from "@berth/core/log";
import { messageOf } from "@berth/errors";
import { bootPlugins } from "@berth/plugin-core";
import { SnapshotPlugin } from "@berth/plugin-core/types";
import { describe, expect, it } from "vitest";

import { btrfsPlugin, nativePlugin, overlayfsPlugin } from "../src/plugin.ts";
import { temporaryDirectory } from "./temporary-directory.ts";

async function boot(root: string, config: Record<string, unknown> = {}) {
  return bootPlugins({
    plugins: [btrfsPlugin, nativePlugin, overlayfsPlugin],
    config: new Map([["io.containerd.snapshotter.v1.overlayfs", config]]),
    root,
    state: join(root, "state"),
    grpcAddress: "",
    ttrpcAddress: "",
    log: silentLogger,
    signal: new AbortController().signal,
    fatal: () => {},
  });
}

describe("snapshotter plugins", () => {
  it("load overlayfs and native, and skip btrfs in containerd's words", async () => {
    await using directory = await temporaryDirectory();
    await using graph = await boot(directory.path);
    const records = new Map(graph.records.map((record) => [record.id, record]));
    expect([...records].map(([id, { status }]) => [id, status])).toEqual([
      ["btrfs", "skipped"],
      ["native", "loaded"],
      ["overlayfs", "loaded"],
    ]);
    const btrfsRoot = join(directory.path, "io.containerd.snapshotter.v1.btrfs");
    expect(messageOf(records.get("btrfs")?.error)).toMatch(
      new RegExp(
        `^path ${btrfsRoot} \\(\\w+\\) must be a btrfs filesystem to be used with the btrfs snapshotter: skip plugin$`,
      ),
    );
    for (const [id, record] of records) {
      expect(record.exports.get("root")).toBe(join(directory.path, `io.containerd.snapshotter.v1.${id}`));
      expect(record.platforms).toHaveLength(1);
    }
    expect(records.get("overlayfs")?.capabilities).toEqual(["remap-ids", "only-remap-ids", "rebase"]);
    await graph.loaded(SnapshotPlugin).get("overlayfs")?.prepare("key", "");
  });

  it("obey the configuration of overlayfs", async () => {
    await using directory = await temporaryDirectory();
    const root_path = join(directory.path, "elsewhere");
    await using graph = await boot(directory.path, {
      root_path,
      slow_chown: true,
      upperdir_label: true,
      sync_remove: true,
    });
    const record = graph.records.find(({ id }) => id === "overlayfs");
    expect(record?.exports.get("root")).toBe(root_path);
    expect(record?.capabilities).toEqual(["remap-ids", "rebase"]);
    const snapshotter = graph.loaded(SnapshotPlugin).get("overlayfs");
    const [mount] = (await snapshotter?.prepare("key", "")) ?? [];
    expect(mount?.source).toBe(join(root_path, "snapshots/1/fs"));
    expect([...((await snapshotter?.stat("key"))?.labels.values() ?? [])]).toEqual([mount?.source]);
  });
});
