import { Diff } from "@berth/api/containerd/services/diff/v1/diff";
import { all, definePlugin, one, optional, type Plugin, serviceRegistration } from "@berth/plugin-core";
import { DiffPlugin, GrpcPlugin, MetadataPlugin, MountManagerPlugin } from "@berth/plugin-core/types";
import { failedPrecondition } from "@berth/errors";
import { z } from "zod";

import { activatedDiffer } from "./activated-differ.ts";
import { createApplier } from "./applier.ts";
import { createComparer } from "./comparer.ts";
import { type LayerEngineOptions, createLayerEngine } from "./layer-engine.ts";
import { createDiffService } from "./service.ts";
import { budgetsOf, walkingConfig } from "./walking-config.ts";

export { createErofsPlugin } from "./erofs-plugin.ts";

/** `io.containerd.differ.v1.walking`, with the settings of a daemon that is bundled or has a place for temporary mounts. */
export function createWalkingPlugin(options: LayerEngineOptions = {}): Plugin {
  return definePlugin({
    type: DiffPlugin,
    id: "walking",
    requires: { metadata: one(MetadataPlugin), mounts: optional(MountManagerPlugin) },
    config: walkingConfig,
    init: ({ plugins, config, resources, log }) => {
      const workers = config.workers === 0 ? options.workers : config.workers;
      const engine = resources.use(createLayerEngine({ ...options, workers, budgets: budgetsOf(config) }));
      return (namespace, view) => {
        const { content } = plugins.metadata.namespace(namespace, view);
        const applier = createApplier({ content: view?.layers ?? content, engine, log });
        const differ = { ...applier, ...createComparer({ content, engine, log }) };
        return plugins.mounts === undefined ? differ : activatedDiffer(differ, plugins.mounts(namespace));
      };
    },
  });
}

/** `io.containerd.differ.v1.walking`: applies and makes tar layers. */
export const walkingPlugin = createWalkingPlugin();

/**
 * `io.containerd.grpc.v1.diff`: the diff service, over the differs named in its configuration, in that order. `sync_fs` is off: the
 * commit of the snapshot puts the layer on disk, see docs/decisions/0005.
 */
export const diffServicePlugin = definePlugin({
  type: GrpcPlugin,
  id: "diff",
  requires: { differs: all(DiffPlugin) },
  config: z.object({ default: z.array(z.string()).default(["walking"]), sync_fs: z.boolean().default(false) }),
  init: ({ plugins, config }) => {
    const differs = config.default.map((id) => {
      const differ = plugins.differs.get(id);
      if (differ === undefined) throw failedPrecondition(`differ ${JSON.stringify(id)} is not loaded`);
      return differ;
    });
    return [serviceRegistration(Diff, createDiffService(differs, { syncFs: config.sync_fs }))];
  },
});
