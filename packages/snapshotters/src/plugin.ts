import type { Plugin } from "@berth/plugin-core";
import { definePlugin, one, serviceRegistration } from "@berth/plugin-core";
import { GrpcPlugin, MetadataPlugin } from "@berth/plugin-core/types";
import { leaseOf, namespaceOf } from "@berth/rpc";

import { createSnapshotService, Snapshots } from "./service.ts";

export { blockfilePlugin } from "./plugins/blockfile-plugin.ts";
export { btrfsPlugin } from "./plugins/btrfs-plugin.ts";
export { devmapperPlugin } from "./plugins/devmapper-plugin.ts";
export { erofsPlugin } from "./plugins/erofs-plugin.ts";
export { nativePlugin } from "./plugins/native-plugin.ts";
export { overlayfsPlugin } from "./plugins/overlayfs-plugin.ts";
export { zfsPlugin } from "./plugins/zfs-plugin.ts";

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
