import type { CallOptions } from "@berth/core/any";
import type { Labels } from "@berth/core/labels";
import { Turns } from "@berth/core/turns";
import { notFound } from "@berth/errors";
import type { Descriptor, Digest, PlatformMatcher } from "@berth/oci";
import { allPlatforms, isIndexType, isLayerType, isManifestType } from "@berth/oci";

import type { DownloadOptions } from "./download-blob.ts";
import { downloadBlob } from "./download-blob.ts";
import { labelChildren } from "./gc-labels.ts";
import { children, readIndex } from "./image-children.ts";
import { isSeen } from "./walk.ts";

/** Options of {@link fetchImage}. */
export interface FetchImageOptions extends Omit<DownloadOptions, "labels" | "onReceived"> {
  readonly platform: PlatformMatcher;
  /** Fetch what is made for any of the matching platforms; else only for the best of them. */
  readonly everyPlatform?: boolean;
  /** So many manifests of an index at most, the best first; 0 for all. Absent: all with `everyPlatform`, else one. */
  readonly manifestLimit?: number;
  /** Also fetch the documents of platforms that do not match, without their layers. */
  readonly allMetadata?: boolean;
  /** Runs each download; for whoever wants only one of a blob at a time. */
  readonly whileHeld?: <T>(descriptor: Descriptor, download: () => Promise<T>, options: CallOptions) => Promise<T>;
  /** So many layers are downloaded at once; 3. One that has come whole and is being put on disk does not count. */
  readonly concurrency?: number;
  /** Of every blob: where it comes from, so that a push can have it taken over from there. */
  readonly labels?: Labels;
  /** Told what of it a document has fetched, before that is. */
  readonly onChildren?: (parent: Descriptor, children: readonly Descriptor[]) => void;
  /** Told when manifests and configurations are there, with the layers still to come, which wait for it. */
  readonly onLayers?: (layers: readonly Descriptor[]) => void | Promise<void>;
  /** A layer for which this resolves to `false` is not needed, as its snapshot is there. */
  readonly needsLayer?: (layer: Descriptor) => Promise<boolean>;
  /** Told of each blob that is in the store. */
  readonly onStored?: (descriptor: Descriptor, state: "stored" | "exists") => void;
}

const DEFAULT_CONCURRENCY = 3;
/** The store puts on disk what has come, while more comes; but what it has not confirmed is not to pile up. */
const UNCONFIRMED_PER_DOWNLOAD = 3;
const MAX_DEPTH = 8;

/**
 * This downloads an image into a content store: manifests and configurations first, then its layers side by side. What is there is not downloaded again. Each document is labelled with
 * what it refers to, so that the collector keeps it; the caller holds a lease meanwhile.
 *
 * @throws not_found - the index has nothing for the platform
 * @throws as `fetch` and `downloadBlob`; other downloads then have ended
 * @see containerd client/pull.go, fetch
 */
export async function fetchImage(target: Descriptor, options: FetchImageOptions): Promise<void> {
  const wanted = newWalk();
  await fetchDocument(target, options, { wanted, others: newWalk() }, 0);
  const { layers } = wanted;
  await options.onLayers?.([...layers.values()]);
  await downloadAll([...layers.values()], options);
}

/** What has been come upon. Indexes that list each other many times over are no tree but as large as one that has no end. */
interface Walk {
  readonly layers: Map<Digest, Descriptor>;
  readonly seen: Set<string>;
}

const newWalk = (): Walk => ({ layers: new Map(), seen: new Set() });

async function fetchDocument(
  descriptor: Descriptor,
  options: FetchImageOptions,
  walks: { readonly wanted: Walk; readonly others: Walk },
  depth: number,
): Promise<void> {
  const { layers, seen } = walks.wanted;
  if (isLayerType(descriptor.mediaType)) {
    layers.set(descriptor.digest, descriptor);
    return;
  }
  if (isSeen(descriptor, seen)) return;
  await store(descriptor, options);
  if (!isIndexType(descriptor.mediaType) && !isManifestType(descriptor.mediaType)) return;
  if (depth === MAX_DEPTH) throw notFound(`index ${descriptor.digest} is nested too deeply`);
  const all = await children(options.content, descriptor, options);
  await labelChildren(options.content, descriptor, all, { signal: options.signal });
  const wanted = isIndexType(descriptor.mediaType) ? await choose(descriptor, options) : all;
  options.onChildren?.(descriptor, options.allMetadata === true ? all : wanted);
  for (const child of wanted) await fetchDocument(child, options, walks, depth + 1);
  if (options.allMetadata !== true || !isIndexType(descriptor.mediaType)) return;
  const everything = { ...options, platform: allPlatforms, everyPlatform: true, manifestLimit: 0 };
  const known = new Set(wanted.map(({ digest }) => digest));
  // Their layers are not fetched.
  const others = { wanted: walks.others, others: walks.others };
  for (const child of all) if (!known.has(child.digest)) await fetchDocument(child, everything, others, depth + 1);
}

/** Of the manifests in an index, those for the platform, best first; what names no platform is for any. */
async function choose(
  index: Descriptor,
  { content, platform, everyPlatform = false, manifestLimit, signal }: FetchImageOptions,
): Promise<readonly Descriptor[]> {
  const { manifests } = await readIndex(content, index, { signal });
  const fitting = manifests
    .filter((each) => each.platform === undefined || platform.matches(each.platform))
    .toSorted((one, other) =>
      one.platform === undefined || other.platform === undefined
        ? Number(one.platform === undefined) - Number(other.platform === undefined)
        : platform.compare(one.platform, other.platform),
    );
  const best = fitting[0]?.platform;
  if (fitting.length === 0) throw notFound(`index ${index.digest} has no manifest for the platform`);
  const wanted = fitting.filter(
    (each) => everyPlatform || !best || !each.platform || platform.compare(best, each.platform) === 0,
  );
  const limit = manifestLimit ?? (everyPlatform ? 0 : 1);
  return limit === 0 ? wanted : wanted.slice(0, limit);
}

async function downloadAll(layers: readonly Descriptor[], options: FetchImageOptions): Promise<void> {
  const failed = new AbortController();
  const signal = options.signal === undefined ? failed.signal : AbortSignal.any([options.signal, failed.signal]);
  const concurrency = options.concurrency ?? DEFAULT_CONCURRENCY;
  const unconfirmed = new Turns(concurrency * UNCONFIRMED_PER_DOWNLOAD);
  const receiving = new Turns(concurrency);
  const downloads = layers.map((layer) =>
    unconfirmed.run(async () => {
      using turn = await receiving.acquire();
      signal.throwIfAborted();
      if ((await options.needsLayer?.(layer)) === false) return;
      await store(layer, { ...options, signal, onReceived: () => turn[Symbol.dispose]() });
    }),
  );
  try {
    await Promise.all(downloads);
  } finally {
    // The first failure ends the others; none may go on behind the caller's back.
    failed.abort();
    await Promise.allSettled(downloads);
  }
}

async function store(
  descriptor: Descriptor,
  options: FetchImageOptions & Pick<DownloadOptions, "onReceived">,
): Promise<void> {
  const download = (): Promise<"stored" | "exists"> => downloadBlob(descriptor, options);
  const state = await (options.whileHeld?.(descriptor, download, { signal: options.signal }) ?? download());
  options.onStored?.(descriptor, state);
}
