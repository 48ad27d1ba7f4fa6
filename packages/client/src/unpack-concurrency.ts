import { availableParallelism } from "node:os";

import type { CallOptions } from "@berth/core/any";
import type { PluginRecord } from "@berth/core/introspection";

import type { Client } from "./client.ts";

/** What a proxy snapshotter that brings layers in by itself exports, with the value `true`. */
const REMOTE_EXPORT = "enable_remote_snapshot_annotations";

/**
 * This says how many layers of an image to unpack at once: one for each processor, and one that is ready when another is done, where
 * the snapshotter can give a layer its parent when it is committed (its capability `rebase`); else one after the other.
 */
export async function unpackConcurrency(client: Client, snapshotter: string, options?: CallOptions): Promise<number> {
  const plugins = await findSnapshotter(client, snapshotter, options);
  return plugins.some(({ capabilities }) => capabilities.includes("rebase")) ? availableParallelism() + 1 : 1;
}

/** This says whether a snapshotter may bring layers in by itself, when it is told with each what that is of. */
export async function bringsLayers(client: Client, snapshotter: string, options?: CallOptions): Promise<boolean> {
  const plugins = await findSnapshotter(client, snapshotter, options);
  return plugins.some((plugin) => plugin.exports.get(REMOTE_EXPORT) === "true");
}

async function findSnapshotter(client: Client, name: string, options?: CallOptions): Promise<readonly PluginRecord[]> {
  const filters = [`type==io.containerd.snapshotter.v1,id==${JSON.stringify(name)}`];
  return await client.plugins({ ...options, filters });
}
