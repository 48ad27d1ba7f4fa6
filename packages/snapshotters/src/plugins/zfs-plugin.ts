import type { Plugin } from "@berth/plugin-core";
import { definePlugin, skipPlugin } from "@berth/plugin-core";
import { SnapshotPlugin } from "@berth/plugin-core/types";
import { z } from "zod";

import { findOtherFileSystem } from "../other-file-system.ts";
import { announceRoot, rootPath } from "./snapshotter-config.ts";

/** `snapshotter.v1 zfs`: always skipped, in containerd's words where its root lies on another file system. */
export const zfsPlugin: Plugin = definePlugin({
  type: SnapshotPlugin,
  id: "zfs",
  config: z.object({ root_path: rootPath }),
  async init({ config, rootDir, meta }) {
    const root = announceRoot(meta, config.root_path, rootDir);
    if ((await findOtherFileSystem(root, "zfs")) !== undefined) {
      throw skipPlugin(`path ${root} must be a zfs filesystem to be used with the zfs snapshotter`);
    }
    throw skipPlugin(`path ${root} is a zfs filesystem, but this version has no driver for it`);
  },
});
