import type { Plugin } from "@berth/plugin-core";
import { definePlugin } from "@berth/plugin-core";
import { SnapshotPlugin } from "@berth/plugin-core/types";
import { z } from "zod";

import { openOverlaySnapshotter } from "../overlayfs.ts";
import { announceRoot, rootPath, syncFs, words } from "./snapshotter-config.ts";

/** `snapshotter.v1 overlayfs` */
export const overlayfsPlugin: Plugin = definePlugin({
  type: SnapshotPlugin,
  id: "overlayfs",
  config: z.object({
    root_path: rootPath,
    upperdir_label: z.boolean().default(false),
    sync_remove: z.boolean().default(false),
    slow_chown: z.boolean().default(false),
    mount_options: words,
    sync_fs: syncFs,
  }),
  async init({ config, rootDir, host: { fatal }, meta, resources, log }) {
    const { snapshotter, support } = await openOverlaySnapshotter({
      root: announceRoot(meta, config.root_path, rootDir),
      log,
      fatal,
      mountOptions: config.mount_options,
      upperdirLabel: config.upperdir_label,
      syncRemove: config.sync_remove,
      syncFs: config.sync_fs,
    });
    if (support.remapIds) meta.capabilities.push("remap-ids");
    if (!config.slow_chown) meta.capabilities.push("only-remap-ids");
    if (support.rebase) meta.capabilities.push("rebase");
    return resources.use(snapshotter);
  },
});
