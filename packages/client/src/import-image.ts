import type { ImportOptions, ImportResult, UnpackOptions } from "@berth/images";
import { importArchive, unpack } from "@berth/images";
import { hostPlatform, only } from "@berth/oci";

import type { Client } from "./client.ts";
import { unpackConcurrency } from "./unpack-concurrency.ts";

/** Options of {@link importImage}. */
export interface ImportImageOptions extends Omit<ImportOptions, "content" | "images"> {
  /** Unpack what was imported, with the snapshotter named. */
  readonly unpack?: Pick<UnpackOptions, "concurrency" | "onLayer" | "syncFs"> & { readonly snapshotter: string };
}

/**
 * This imports an image archive and unpacks it if asked to, all under one lease: the archive is read here and its blobs are
 * sent to the daemon.
 *
 * @throws as `importArchive` and `unpack` of `@berth/images`
 */
export async function importImage(
  client: Client,
  source: AsyncIterable<Uint8Array>,
  options: ImportImageOptions = {},
): Promise<ImportResult> {
  return await client.withLease(async (leased) => {
    const result = await importArchive(source, { ...options, content: leased.content, images: leased.images });
    if (options.unpack === undefined) return result;
    const targets = new Map(result.images.map(({ target }) => [target.digest, target]));
    for (const target of targets.values()) await unpackTarget(leased, target, { ...options, ...options.unpack });
    return result;
  }, options);
}

/** Options of {@link unpackImage}. */
export interface UnpackImageOptions
  extends
    Partial<Pick<UnpackOptions, "platform">>,
    Pick<UnpackOptions, "concurrency" | "onLayer" | "syncFs" | "signal"> {
  readonly snapshotter: string;
}

/** This unpacks an image that is in the daemon's content store, under a lease. @throws as `unpack` of `@berth/images` */
export async function unpackImage(
  client: Client,
  target: Parameters<typeof unpack>[0],
  options: UnpackImageOptions,
): Promise<Awaited<ReturnType<typeof unpack>>> {
  return await client.withLease((leased) => unpackTarget(leased, target, options), options);
}

async function unpackTarget(leased: Client, target: Parameters<typeof unpack>[0], options: UnpackImageOptions) {
  const { platform = only(hostPlatform()), snapshotter, signal, ...rest } = options;
  return unpack(target, {
    ...rest,
    signal,
    concurrency: options.concurrency ?? (await unpackConcurrency(leased, snapshotter, { signal })),
    platform,
    content: leased.content,
    snapshotter: leased.snapshotter(snapshotter),
    snapshotterName: snapshotter,
    applier: leased.diff,
  });
}
