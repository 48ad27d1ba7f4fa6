import { hostPlatform } from "@berth/oci";
import type { PluginMeta } from "@berth/plugin-core";
import { z } from "zod";

/** Keys of every snapshotter. */
export const rootPath = z.string().default("");
/** Put snapshots on disk before their commit answers. */
export const syncFs = z.boolean().default(true);
export const words = z.array(z.string()).default([]);

/** This tells the platform and the root of a snapshotter, and returns the root. */
export function announceRoot(meta: PluginMeta, configured: string, rootDir: string): string {
  const root = configured || rootDir;
  announcePlatform(meta);
  meta.exports.set("root", root);
  return root;
}

/** This tells the platform. */
export function announcePlatform(meta: PluginMeta): void {
  meta.platforms.push(hostPlatform());
}
