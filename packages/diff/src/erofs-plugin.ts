import { existsSync } from "node:fs";

import { childEnvironment } from "@berth/core/child-environment";
import { findProgram, runProgram } from "@berth/linux/process";
import { hostPlatform } from "@berth/oci";
import { definePlugin, one, type Plugin, skipPlugin } from "@berth/plugin-core";
import { DiffPlugin, MetadataPlugin } from "@berth/plugin-core/types";
import { z } from "zod";

import { createErofsApplier } from "./erofs-applier.ts";
import { createLayerEngine, type LayerEngineOptions } from "./layer-engine.ts";

const HELP_MS = 10_000;

const erofsConfig = z.object({
  mkfs_options: z.array(z.string()).default([]),
  enable_tar_index: z.boolean().default(false),
  enable_dmverity: z.boolean().default(false),
});

/**
 * `io.containerd.differ.v1.erofs`: layers that are EROFS images, and images made of tar layers, for the EROFS snapshotter. Skipped
 * where there is no `mkfs.erofs` that knows tar.
 */
export function createErofsPlugin(options: LayerEngineOptions = {}): Plugin {
  return definePlugin({
    type: DiffPlugin,
    id: "erofs",
    requires: { metadata: one(MetadataPlugin) },
    config: erofsConfig,
    async init({ plugins, config, meta, resources, log }) {
      const mkfs = await findTarMkfs();
      if (config.enable_dmverity) throw skipPlugin(missingVerity());
      const platform = hostPlatform();
      meta.platforms.push(platform, { ...platform, osFeatures: ["erofs"] });
      const engine = resources.use(createLayerEngine(options));
      return (namespace, view) => {
        const content = view?.layers ?? plugins.metadata.namespace(namespace, view).content;
        const { mkfs_options: mkfsOptions, enable_tar_index: tarIndex } = config;
        return createErofsApplier({ content, engine, mkfs, mkfsOptions, tarIndex, log });
      };
    },
  });
}

async function findTarMkfs(): Promise<string> {
  const path = findProgram("mkfs.erofs");
  if (path === undefined) throw skipPlugin("failed to check mkfs.erofs availability: it is not installed");
  const { output } = await runProgram({ path, args: ["--help"], timeoutMs: HELP_MS, env: childEnvironment() });
  if (output.includes("--tar=")) return path;
  throw skipPlugin("mkfs.erofs does not support tar mode (--tar option), disabling erofs differ");
}

function missingVerity(): string {
  return existsSync("/sys/module/dm_verity")
    ? "dm-verity metadata of layers is not made"
    : "dm-verity is not supported on this system (dm_verity module not loaded)";
}
