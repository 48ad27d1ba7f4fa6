import { existsSync } from "node:fs";

import { failedPrecondition, invalidArgument } from "@berth/errors";
import type { Plugin } from "@berth/plugin-core";
import { definePlugin, skipPlugin } from "@berth/plugin-core";
import { SnapshotPlugin } from "@berth/plugin-core/types";
import { z } from "zod";

import { findMissingErofs, openErofsSnapshotter } from "../erofs.ts";
import { parseHumanSize } from "../human-size.ts";
import { announceRoot, rootPath, syncFs, words } from "./snapshotter-config.ts";

const configSchema = z.object({
  root_path: rootPath,
  ovl_mount_options: words,
  enable_fsverity: z.boolean().default(false),
  set_immutable: z.boolean().default(false),
  default_size: z.string().default(""),
  dmverity_mode: z.enum(["", "auto", "on", "off"]).default(""),
  layer_content_caches: words,
  sync_fs: syncFs,
});

/** `snapshotter.v1 erofs`: skipped where the kernel or mkfs.erofs is missing. */
export const erofsPlugin: Plugin = definePlugin({
  type: SnapshotPlugin,
  id: "erofs",
  config: configSchema,
  async init({ config, rootDir, host: { fatal }, meta, resources, log }) {
    const root = announceRoot(meta, config.root_path, rootDir);
    const missing = (await findMissingErofs()) ?? findMissingVerity(config);
    if (missing !== undefined) throw skipPlugin(missing);
    const { snapshotter, remapIds } = await openErofsSnapshotter({
      root,
      log,
      fatal,
      overlayOptions: config.ovl_mount_options,
      setImmutable: config.set_immutable,
      defaultSize: config.default_size === "" ? 0 : parseHumanSize(config.default_size),
      dmverityMode: config.dmverity_mode || "auto",
      layerContentCaches: config.layer_content_caches,
      syncFs: config.sync_fs,
    });
    meta.capabilities.push("only-remap-ids", ...(remapIds ? ["remap-ids"] : []), "rebase");
    return resources.use(snapshotter);
  },
});

function findMissingVerity(config: z.output<typeof configSchema>): string | undefined {
  if (config.dmverity_mode === "on" && !existsSync("/sys/module/dm_verity")) {
    throw failedPrecondition("dmverity_mode is 'on' but dm-verity is not supported on this system");
  }
  if (!config.enable_fsverity) return undefined;
  if (config.layer_content_caches.length > 0) {
    throw invalidArgument(
      "enable_fsverity is incompatible with layer_content_caches; use dm-verity for cache integrity",
    );
  }
  return existsSync("/proc/sys/fs/verity")
    ? "enable_fsverity: this version does not enable fs-verity"
    : "enable_fsverity: fs-verity is not supported by this kernel";
}
