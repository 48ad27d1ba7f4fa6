import type { ImportOptions, ImportResult, RandomAccess, UnpackOptions } from "@berth/images";
import { EarlyUnpack, hasFileSystem, importArchive, planArchive, unpack } from "@berth/images";
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
 * sent to the daemon. Artifacts, which have no files, are not unpacked.
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
    await using early = unpackOptions && (await lookAhead(options.lookAhead, unpackOptions));
    const result = await importArchive(source, {
      ...options,
      content: leased.content,
      images: leased.images,
      onBlob: (digest) => early?.stored(digest),
    });
    if (unpackOptions === undefined) return result;
    await early?.finish();
    const targets = new Map(result.images.map(({ target }) => [target.digest, target]));
    for (const target of targets.values()) {
      const { platform, signal } = unpackOptions;
      if (await hasFileSystem(leased.content, target, platform, { signal })) await unpack(target, unpackOptions);
    }
    return result;
  }, options);
}

/**
 * This starts to unpack an archive that is yet to be imported under the same lease: see `EarlyUnpack` of `@berth/images`. `undefined`
 * where the archive cannot be looked ahead at; what is wrong with it shows when it is imported.
 */
export async function startEarlyUnpack(
  leased: Client,
  archive: RandomAccess | undefined,
  options: UnpackImageOptions,
): Promise<EarlyUnpack | undefined> {
  return lookAhead(archive, await optionsOfUnpack(leased, options));
}

async function lookAhead(archive: RandomAccess | undefined, options: UnpackOptions): Promise<EarlyUnpack | undefined> {
  const plan = archive && (await planArchive(archive, options).catch(() => undefined));
  return plan && new EarlyUnpack(plan, options);
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

/** This completes the options of an unpacking by what the daemon has. A layer is told of once, also when it is come upon again. */
export async function optionsOfUnpack(leased: Client, options: UnpackImageOptions): Promise<UnpackOptions> {
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
