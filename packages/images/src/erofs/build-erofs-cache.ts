import { randomBytes } from "node:crypto";
import { chmod, glob, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";

import type { CallOptions } from "@berth/core/any";
import type { ContentProvider } from "@berth/core/content";
import { makeDirectoryDurably, renameDurably, syncFile } from "@berth/core/durable-files";
import { failedPrecondition, ignoreNotFound, wrapError } from "@berth/errors";
import { type Descriptor, type Digest, digestAlgorithm, digestHex, type PlatformMatcher } from "@berth/oci";

import { isPlainLayer } from "../layer-types.ts";
import { readImageConfig, resolveManifest } from "../resolve-manifest.ts";
import { type ErofsSettings, makeErofs } from "./make-erofs.ts";

/** What nobody has written to for so long is left of a process that was killed. */
const ABANDONED_MS = 24 * 60 * 60_000;

/** Options of {@link buildErofsCache}. */
export interface ErofsCacheOptions extends ErofsSettings, CallOptions {
  readonly content: ContentProvider;
  readonly platform: PlatformMatcher;
}

/**
 * This puts the layers of an image as EROFS images into a directory of this machine, where the EROFS snapshotter looks for them (`layer_content_caches`):
 * `<directory>/<algorithm>/<first two digits>/<digits>.erofs`, by diff ids. Each comes into its place in one step, whole and on disk, and
 * replaces the one that is there; all users may read it. What a process left that was killed on the way goes after a day. EROFS layers and those that are not to be passed on are left out.
 *
 * @throws not_found - a blob is missing, or nothing is for the platform; as {@link makeErofs}
 * @see containerd cmd/ctr/commands/images/build_erofs_cache.go
 */
export async function buildErofsCache(
  target: Descriptor,
  directory: string,
  { content, platform, ...settings }: ErofsCacheOptions,
): Promise<void> {
  const { signal } = settings;
  const { manifest } = await resolveManifest(content, target, platform, { signal });
  const { diffIds } = await readImageConfig(content, manifest.config, { signal });
  if (diffIds.length !== manifest.layers.length)
    throw failedPrecondition(
      `image ${target.digest} has ${manifest.layers.length} layers and ${diffIds.length} diff ids`,
    );
  await removeAbandoned(directory);
  for (const [index, layer] of manifest.layers.entries()) {
    const diffId = diffIds[index];
    if (diffId === undefined || !isPlainLayer(layer.mediaType)) continue;
    try {
      await buildLayer(content, layer, diffId, { ...settings, directory });
    } catch (error) {
      throw wrapError(error, `cache layer ${layer.digest}`);
    }
  }
}

async function buildLayer(
  content: ContentProvider,
  layer: Descriptor,
  diffId: Digest,
  { directory, ...settings }: ErofsSettings & CallOptions & { readonly directory: string },
): Promise<void> {
  const hex = digestHex(diffId);
  const path = join(directory, digestAlgorithm(diffId), hex.slice(0, 2), `${hex}.erofs`);
  await makeDirectoryDurably(dirname(path));
  const temporary = join(directory, `.build-${randomBytes(6).toString("hex")}.erofs`);
  try {
    await makeErofs(content, layer, diffId, temporary, settings);
    // Whatever this process otherwise keeps from others.
    await chmod(temporary, 0o644);
    await syncFile(temporary);
    await renameDurably(temporary, path);
  } finally {
    await rm(temporary, { force: true });
  }
}

async function removeAbandoned(directory: string): Promise<void> {
  for await (const name of glob(".build-*.erofs", { cwd: directory })) {
    const path = join(directory, name);
    const found = await stat(path).catch(ignoreNotFound);
    if (found !== undefined && Date.now() - found.mtimeMs > ABANDONED_MS) await rm(path, { force: true });
  }
}
