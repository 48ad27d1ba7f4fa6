import type { RandomAccess } from "@berth/archive";
import type { ImportOptions, ImportResult, UnpackOptions } from "@berth/images";
import { EarlyUnpack, importArchive, planArchive, unpack } from "@berth/images";
import { hostPlatform, only } from "@berth/oci";

import type { Client } from "./client.ts";
import { unpackConcurrency } from "./unpack-concurrency.ts";

/** Options of {@link importImage}. */
export interface ImportImageOptions extends Omit<ImportOptions, "content" | "images" | "onBlob"> {
  /** Unpack what was imported, with the snapshotter named. */
  readonly unpack?: Pick<UnpackOptions, "concurrency" | "onLayer" | "syncFs"> & { readonly snapshotter: string };
  /** The same archive, where it can be read anywhere: layers are then unpacked while others are still being read. */
  readonly lookAhead?: RandomAccess | undefined;
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
    const unpackOptions =
      options.unpack === undefined ? undefined : await optionsOfUnpack(leased, { ...options, ...options.unpack });
    await using early = await startEarly(options, unpackOptions);
    const result = await importArchive(source, {
      ...options,
      content: leased.content,
      images: leased.images,
      onBlob: (digest) => early?.stored(digest),
    });
    if (unpackOptions === undefined) return result;
    await early?.finish();
    const targets = new Map(result.images.map(({ target }) => [target.digest, target]));
    for (const target of targets.values()) await unpack(target, unpackOptions);
    return result;
  }, options);
}

/** What cannot be looked ahead at is unpacked afterwards, when it is known what is wrong with it. */
async function startEarly(
  { lookAhead, signal }: ImportImageOptions,
  unpackOptions: UnpackOptions | undefined,
): Promise<EarlyUnpack | undefined> {
  if (lookAhead === undefined || unpackOptions === undefined) return undefined;
  const plan = await planArchive(lookAhead, { signal }).catch(() => undefined);
  return plan && new EarlyUnpack(plan, unpackOptions);
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
  return await client.withLease(async (leased) => unpack(target, await optionsOfUnpack(leased, options)), options);
}

/** A layer is told of once, also when it is come upon again. */
async function optionsOfUnpack(leased: Client, options: UnpackImageOptions): Promise<UnpackOptions> {
  const { platform = only(hostPlatform()), snapshotter, signal, syncFs, onLayer } = options;
  const told = new Set<string>();
  return {
    platform,
    signal,
    ...(syncFs === undefined ? {} : { syncFs }),
    onLayer: (layer, state) => {
      if (!told.has(layer.digest)) onLayer?.(layer, state);
      told.add(layer.digest);
    },
    concurrency: options.concurrency ?? (await unpackConcurrency(leased, snapshotter, { signal })),
    content: leased.content,
    snapshotter: leased.snapshotter(snapshotter),
    snapshotterName: snapshotter,
    applier: leased.diff,
  };
}
