import type { Plugin } from "@berth/plugin-core";
import { definePlugin, skipPlugin } from "@berth/plugin-core";
import { SnapshotPlugin } from "@berth/plugin-core/types";
import { z } from "zod";

import { findMissingScratch, openBlockfileSnapshotter } from "../blockfile.ts";
import { announceRoot, rootPath, syncFs, words } from "./snapshotter-config.ts";

/** `snapshotter.v1 blockfile`: skipped without a scratch file. */
export const blockfilePlugin: Plugin = definePlugin({
  type: SnapshotPlugin,
  id: "blockfile",
  config: z.object({
    root_path: rootPath,
    scratch_file: z.string().default(""),
    fs_type: z.string().default(""),
    mount_options: words,
    recreate_scratch: z.boolean().default(false),
    sync_fs: syncFs,
  }),
  async init({ config, rootDir, host: { fatal }, meta, resources, log }) {
    const scratch = {
      root: announceRoot(meta, config.root_path, rootDir),
      scratchFile: config.scratch_file || undefined,
      recreateScratch: config.recreate_scratch,
    };
    const missing = await findMissingScratch(scratch);
    if (missing !== undefined) throw skipPlugin(missing);
    const { fs_type: fsType, mount_options: mountOptions, sync_fs: syncFs } = config;
    const type = fsType === "" ? {} : { fsType };
    return resources.use(await openBlockfileSnapshotter({ ...scratch, ...type, mountOptions, syncFs, log, fatal }));
  },
});
