import { hostPlatform } from "@berth/oci";
import type { Plugin } from "@berth/plugin-core";
import { definePlugin, one, serviceRegistration, skipPlugin } from "@berth/plugin-core";
import { GrpcPlugin, MetadataPlugin, SnapshotPlugin } from "@berth/plugin-core/types";
import { leaseOf, namespaceOf } from "@berth/rpc";
import { z } from "zod";

import { findOtherFileSystem } from "./btrfs.ts";
import { openNativeSnapshotter } from "./native.ts";
import { openOverlaySnapshotter } from "./overlayfs.ts";
import { createSnapshotService, Snapshots } from "./service.ts";

const rootPath = z.string().default("");
const syncFs = z.boolean().default(true);

/** `snapshotter.v1 overlayfs` */
export const overlayfsPlugin: Plugin = definePlugin({
  type: SnapshotPlugin,
  id: "overlayfs",
  config: z.object({
    root_path: rootPath,
    upperdir_label: z.boolean().default(false),
    sync_remove: z.boolean().default(false),
    slow_chown: z.boolean().default(false),
    mount_options: z.array(z.string()).default([]),
    sync_fs: syncFs,
  }),
  async init({ config, rootDir, host: { fatal }, meta, resources, log }) {
    const root = config.root_path || rootDir;
    meta.platforms.push(hostPlatform());
    meta.exports.set("root", root);
    const { snapshotter, support } = await openOverlaySnapshotter({
      root,
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

/** `snapshotter.v1 native` */
export const nativePlugin: Plugin = definePlugin({
  type: SnapshotPlugin,
  id: "native",
  config: z.object({ root_path: rootPath, sync_fs: syncFs }),
  async init({ config, rootDir, host: { fatal }, meta, resources, log }) {
    const root = config.root_path || rootDir;
    meta.platforms.push(hostPlatform());
    meta.exports.set("root", root);
    return resources.use(await openNativeSnapshotter({ root, log, fatal, syncFs: config.sync_fs }));
  },
});

/** `snapshotter.v1 btrfs`: skipped; the driver is not there yet, and most machines could not use it. */
export const btrfsPlugin: Plugin = definePlugin({
  type: SnapshotPlugin,
  id: "btrfs",
  config: z.object({ root_path: rootPath }),
  async init({ config, rootDir, meta }) {
    const root = config.root_path || rootDir;
    meta.platforms.push(hostPlatform());
    meta.exports.set("root", root);
    const other = await findOtherFileSystem(root);
    if (other !== undefined) {
      throw skipPlugin(`path ${root} (${other}) must be a btrfs filesystem to be used with the btrfs snapshotter`);
    }
    throw skipPlugin(`path ${root} is a btrfs filesystem, but this version has no driver for it`);
  },
});

/** `grpc.v1 snapshots`: the snapshots of each namespace. */
export const snapshotServicePlugin: Plugin = definePlugin({
  type: GrpcPlugin,
  id: "snapshots",
  requires: { metadata: one(MetadataPlugin) },
  init: ({ plugins: { metadata } }) => [
    serviceRegistration(
      Snapshots,
      createSnapshotService({
        snapshotterFor: (context, name) =>
          metadata.namespace(namespaceOf(context), { lease: leaseOf(context) }).snapshotter(name),
      }),
    ),
  ],
});
