import type { Plugin } from "@berth/plugin-core";
import { definePlugin } from "@berth/plugin-core";
import { SnapshotPlugin } from "@berth/plugin-core/types";
import { z } from "zod";

import { openNativeSnapshotter } from "../native.ts";
import { announceRoot, rootPath, syncFs } from "./snapshotter-config.ts";

/** `snapshotter.v1 native` */
export const nativePlugin: Plugin = definePlugin({
  type: SnapshotPlugin,
  id: "native",
  config: z.object({ root_path: rootPath, sync_fs: syncFs }),
  async init({ config, rootDir, host: { fatal }, meta, resources, log }) {
    const root = announceRoot(meta, config.root_path, rootDir);
    return resources.use(await openNativeSnapshotter({ root, log, fatal, syncFs: config.sync_fs }));
  },
});
