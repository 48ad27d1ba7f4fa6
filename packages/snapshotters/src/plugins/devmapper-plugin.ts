import { invalidArgument, unimplemented } from "@berth/errors";
import type { Plugin } from "@berth/plugin-core";
import { definePlugin, skipPlugin } from "@berth/plugin-core";
import { SnapshotPlugin } from "@berth/plugin-core/types";
import { z } from "zod";

import { parseHumanSize } from "../human-size.ts";
import { announcePlatform, announceRoot, rootPath } from "./snapshotter-config.ts";

const config = z.object({
  root_path: rootPath,
  pool_name: z.string().default(""),
  base_image_size: z.string().default(""),
  async_remove: z.boolean().default(false),
  discard_blocks: z.boolean().default(false),
  fs_type: z.enum(["", "ext4", "xfs", "ext2"]).default(""),
  fs_options: z.string().default(""),
});

/**
 * `snapshotter.v1 devmapper`: skipped in containerd's words when it is not configured. A configuration is checked; there is no
 * driver for it yet.
 */
export const devmapperPlugin: Plugin = definePlugin({
  type: SnapshotPlugin,
  id: "devmapper",
  config,
  init({ config: { pool_name, root_path, base_image_size }, rootDir, meta }) {
    if (pool_name === "") {
      announcePlatform(meta);
      throw skipPlugin("devmapper not configured");
    }
    announceRoot(meta, root_path, rootDir);
    if (base_image_size === "") throw invalidArgument("base_image_size is required");
    parseHumanSize(base_image_size);
    throw unimplemented(`pool ${pool_name}: this version has no driver for device mapper`);
  },
});
