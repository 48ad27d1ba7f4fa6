import { join } from "node:path";

import { silentLogger } from "@berth/core/log";
import { Code, codeOf, messageOf } from "@berth/errors";
import { bootPlugins } from "@berth/plugin-core";
import { SnapshotPlugin } from "@berth/plugin-core/types";
import { debianPath, temporaryDirectory } from "@berth/testing";
import { describe, expect, it, vi } from "vitest";

import {
  blockfilePlugin,
  btrfsPlugin,
  devmapperPlugin,
  erofsPlugin,
  nativePlugin,
  overlayfsPlugin,
  zfsPlugin,
} from "../src/plugin.ts";
import { makeScratch, mountBtrfs } from "./images.ts";

vi.stubEnv("PATH", debianPath());

const TYPE = "io.containerd.snapshotter.v1";

async function boot(root: string, config: Readonly<Record<string, Record<string, unknown>>> = {}) {
  return bootPlugins({
    plugins: [blockfilePlugin, btrfsPlugin, devmapperPlugin, erofsPlugin, nativePlugin, overlayfsPlugin, zfsPlugin],
    config: new Map(Object.entries(config).map(([id, table]) => [`${TYPE}.${id}`, table])),
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
  it("load where they can, and are skipped in containerd's words where they cannot", async () => {
    await using directory = await temporaryDirectory("snapshots");
    await using graph = await boot(directory.path);
    const records = new Map(graph.records.map((record) => [record.id, record]));
    const rootOf = (id: string): string => join(directory.path, `${TYPE}.${id}`);
    const reason = (id: string): string => messageOf(records.get(id)?.error);
    expect([...records].map(([id, { status }]) => [id, status])).toEqual([
      ["blockfile", "skipped"],
      ["btrfs", "skipped"],
      ["devmapper", "skipped"],
      ["erofs", "loaded"],
      ["native", "loaded"],
      ["overlayfs", "loaded"],
      ["zfs", "skipped"],
    ]);
    expect(reason("blockfile")).toBe("no scratch file generator: skip plugin");
    expect(reason("btrfs")).toMatch(
      new RegExp(
        `^path ${rootOf("btrfs")} \\(\\w+\\) must be a btrfs filesystem to be used with the btrfs snapshotter: skip`,
      ),
    );
    expect(reason("devmapper")).toBe("devmapper not configured: skip plugin");
    expect(reason("zfs")).toBe(
      `path ${rootOf("zfs")} must be a zfs filesystem to be used with the zfs snapshotter: skip plugin`,
    );
    for (const [id, record] of records) {
      expect(record.exports.get("root")).toBe(id === "devmapper" ? undefined : rootOf(id));
      expect(record.platforms).toHaveLength(1);
    }
    expect(records.get("overlayfs")?.capabilities).toEqual(["remap-ids", "only-remap-ids", "rebase"]);
    expect(records.get("erofs")?.capabilities).toEqual(["only-remap-ids", "remap-ids", "rebase"]);
    expect(records.get("native")?.capabilities).toEqual([]);
    await graph.loaded(SnapshotPlugin).get("overlayfs")?.prepare("key", "");
  });

  it("obey the configuration of overlayfs", async () => {
    await using directory = await temporaryDirectory("snapshots");
    const root_path = join(directory.path, "elsewhere");
    const options = { root_path, slow_chown: true, upperdir_label: true, sync_remove: true };
    await using graph = await boot(directory.path, { overlayfs: options });
    const record = graph.records.find(({ id }) => id === "overlayfs");
    expect(record?.exports.get("root")).toBe(root_path);
    expect(record?.capabilities).toEqual(["remap-ids", "rebase"]);
    const snapshotter = graph.loaded(SnapshotPlugin).get("overlayfs");
    const [mount] = (await snapshotter?.prepare("key", "")) ?? [];
    expect(mount?.source).toBe(join(root_path, "snapshots/1/fs"));
    expect([...((await snapshotter?.stat("key"))?.labels.values() ?? [])]).toEqual([mount?.source]);
  });

  it("obey the configuration of blockfile and btrfs", async () => {
    await using directory = await temporaryDirectory("snapshots");
    await using btrfs = await mountBtrfs(directory.path);
    const scratch_file = await makeScratch(join(directory.path, "empty.img"));
    await using graph = await boot(directory.path, {
      blockfile: { scratch_file, fs_type: "ext4", mount_options: ["nodev"], recreate_scratch: true },
      btrfs: { root_path: join(btrfs.path, "root") },
    });
    const loaded = graph.loaded(SnapshotPlugin);
    expect(await loaded.get("blockfile")?.prepare("key", "")).toMatchObject([{ options: ["nodev", "loop", "rw"] }]);
    expect(await loaded.get("btrfs")?.prepare("key", "")).toMatchObject([
      {
        type: "btrfs",
        source: expect.stringMatching(/^\/dev\/loop\d+$/),
        options: [expect.stringMatching(/^subvolid=\d+$/)],
      },
    ]);
  });

  it.each([
    [{ pool_name: "pool" }, Code.InvalidArgument],
    [{ pool_name: "pool", base_image_size: "many" }, Code.InvalidArgument],
    [{ pool_name: "pool", base_image_size: "1G", fs_type: "ntfs" }, Code.InvalidArgument],
    [{ pool_name: "pool", base_image_size: "1G", fs_type: "xfs", async_remove: true }, Code.Unimplemented],
  ])("check the configuration %j of devmapper", async (table, code) => {
    await using directory = await temporaryDirectory("snapshots");
    await using graph = await boot(directory.path, { devmapper: table });
    const record = graph.records.find(({ id }) => id === "devmapper");
    expect([record?.status, codeOf(record?.error)]).toEqual(["failed", code]);
  });

  it("skip erofs without mkfs.erofs, and where fs-verity is asked for", async () => {
    await using directory = await temporaryDirectory("snapshots");
    const reason = async (table: Record<string, unknown>): Promise<string> => {
      await using graph = await boot(directory.path, { erofs: table });
      const record = graph.records.find(({ id }) => id === "erofs");
      expect(record?.status).toBe("skipped");
      return messageOf(record?.error);
    };
    expect(await reason({ enable_fsverity: true })).toContain("fs-verity");
    vi.stubEnv("PATH", "/nowhere");
    expect(await reason({})).toBe("mkfs.erofs is not installed: skip plugin");
    vi.stubEnv("PATH", debianPath());
  });

  it.each([
    [{ default_size: "much" }, Code.InvalidArgument],
    [{ dmverity_mode: "maybe" }, Code.InvalidArgument],
    [{ dmverity_mode: "on" }, Code.FailedPrecondition],
    [{ layer_content_caches: ["relative"] }, Code.InvalidArgument],
    [{ layer_content_caches: ["/cache"], set_immutable: true }, Code.InvalidArgument],
    [{ layer_content_caches: ["/cache"], enable_fsverity: true }, Code.InvalidArgument],
  ])("check the configuration %j of erofs", async (table, code) => {
    await using directory = await temporaryDirectory("snapshots");
    await using graph = await boot(directory.path, { erofs: table });
    const record = graph.records.find(({ id }) => id === "erofs");
    expect([record?.status, codeOf(record?.error)]).toEqual(["failed", code]);
  });
});
