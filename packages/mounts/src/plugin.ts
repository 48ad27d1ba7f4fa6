import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";

import { hostPlatform } from "@berth/oci";
import { all, definePlugin, one, type Plugin, serviceRegistration } from "@berth/plugin-core";
import { GrpcPlugin, MetadataPlugin, MountHandlerPlugin, MountManagerPlugin } from "@berth/plugin-core/types";
import { leaseOf, namespaceOf } from "@berth/rpc";
import { z } from "zod";

import { createErofsHandler } from "./handlers/erofs.ts";
import { createLoopHandler } from "./handlers/loop.ts";
import { LocalMountManager } from "./local-mount-manager.ts";
import { createMountsService, Mounts } from "./service.ts";

/** `mount-handler.v1 erofs` */
export const erofsHandlerPlugin: Plugin = definePlugin({
  type: MountHandlerPlugin,
  id: "erofs",
  init: ({ meta }) => {
    meta.platforms.push(hostPlatform());
    return createErofsHandler();
  },
});

/** `mount-handler.v1 loop`: has no counterpart among containerd's plugins, only in its library. */
export const loopHandlerPlugin: Plugin = definePlugin({
  type: MountHandlerPlugin,
  id: "loop",
  init: ({ meta }) => {
    meta.platforms.push(hostPlatform());
    return createLoopHandler();
  },
});

/** `mount-manager.v1 bolt`: the id is the one that containerd's files configure. */
export const mountManagerPlugin: Plugin = definePlugin({
  type: MountManagerPlugin,
  id: "bolt",
  requires: { metadata: one(MetadataPlugin), handlers: all(MountHandlerPlugin) },
  config: z.object({ allowed_roots: z.array(z.string()).default([]) }),
  init: async ({ plugins: { metadata, handlers }, config, rootDir, stateDir, host: { fatal }, resources, log }) => {
    await mkdir(stateDir, { recursive: true, mode: 0o700 });
    const allowedRoots = [dirname(rootDir), ...config.allowed_roots];
    const manager = resources.use(await LocalMountManager.open({ stateDir, handlers, allowedRoots, log, fatal }));
    resources.use(metadata.registerCollector(manager.collector));
    return (namespace, options) => manager.namespace(namespace, options);
  },
});

/** `grpc.v1 mounts` */
export const mountsServicePlugin: Plugin = definePlugin({
  type: GrpcPlugin,
  id: "mounts",
  requires: { manager: one(MountManagerPlugin) },
  init: ({ plugins: { manager } }) => [
    serviceRegistration(
      Mounts,
      createMountsService({ managerFor: (context) => manager(namespaceOf(context), { lease: leaseOf(context) }) }),
    ),
  ],
});
