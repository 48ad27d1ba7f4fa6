import type { Plugin } from "@berth/plugin-core";
import { definePlugin, skipPlugin } from "@berth/plugin-core";
import { SnapshotPlugin } from "@berth/plugin-core/types";
import { z } from "zod";

import { findOtherFileSystem, openBtrfsSnapshotter } from "../btrfs.ts";
import { announceRoot, rootPath, syncFs } from "./snapshotter-config.ts";

/** `snapshotter.v1 btrfs`: skipped where its root lies on another file system. */
export const btrfsPlugin: Plugin = definePlugin({
  type: SnapshotPlugin,
  id: "btrfs",
  config: z.object({ root_path: rootPath, sync_fs: syncFs }),
  async init({ config, rootDir, host: { fatal }, meta, resources, log }) {
    const root = announceRoot(meta, config.root_path, rootDir);
    const other = await findOtherFileSystem(root, "btrfs");
    if (other !== undefined) {
      throw skipPlugin(`path ${root} (${other}) must be a btrfs filesystem to be used with the btrfs snapshotter`);
    }
    return resources.use(await openBtrfsSnapshotter({ root, log, fatal, syncFs: config.sync_fs }));
  },
});
