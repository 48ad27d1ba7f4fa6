import { availableParallelism } from "node:os";

import type { CallOptions } from "@berth/core/any";

import type { Client } from "./client.ts";

/**
 * This says how many layers of an image to unpack at once: one for each processor, and one that is ready when another is done, where
 * the snapshotter can give a layer its parent when it is committed (its capability `rebase`); else one after the other.
 */
export async function unpackConcurrency(client: Client, snapshotter: string, options?: CallOptions): Promise<number> {
  const plugins = await client.plugins({
    ...options,
    filters: [`type==io.containerd.snapshotter.v1,id==${JSON.stringify(snapshotter)}`],
  });
  const rebases = plugins.some(({ capabilities }) => capabilities.includes("rebase"));
  return rebases ? availableParallelism() + 1 : 1;
}
