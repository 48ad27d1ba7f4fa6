import { setTimeout as sleep } from "node:timers/promises";

import { releaseBytes } from "@berth/archive";
import type { CallOptions } from "@berth/core/any";
import type { ContentStore, ContentWriter } from "@berth/core/content";
import type { Labels } from "@berth/core/labels";
import { isAlreadyExists, isFailedPrecondition, isNotFound, isUnavailable } from "@berth/errors";
import type { Descriptor } from "@berth/oci";
import { isConfigType, isIndexType, isLayerType, isManifestType } from "@berth/oci";

/** Gives the bytes of a descriptor's content from an offset to its end. The chunks are given away: each is freed once it is stored. */
export type FetchContent = (
  descriptor: Descriptor,
  options: { readonly offset: number; readonly signal?: AbortSignal | undefined },
) => AsyncIterable<Uint8Array>;

/** Options of {@link downloadBlob}. */
export interface DownloadOptions extends CallOptions {
  readonly content: ContentStore;
  readonly fetch: FetchContent;
  /** Of the blob, when it is stored now. */
  readonly labels?: Labels;
  /** Told of the writer that takes the bytes, and how many it has, before more come. */
  readonly onWriter?: (descriptor: Descriptor, writer: ContentWriter, offset: number) => void;
  /** Told how far the download is. */
  readonly onProgress?: (descriptor: Descriptor, offset: number) => void;
  /** Told when all bytes have come, which are yet to be verified and put on disk. */
  readonly onReceived?: () => void;
}

const LOCKED_POLL_MS = 100;

/** This returns the ref of the ingest for a descriptor, which is the same for all who download it. */
export function ingestRef({ mediaType, digest }: Descriptor): string {
  return `${kindOf(mediaType)}-${digest}`;
}

/**
 * This downloads content into the store, from where an earlier download was broken off, and returns whether it was there already. Someone else who downloads the same is waited for.
 * Where what comes is wrong, it is downloaded once more: afresh if some of it was left by an earlier download, of another image perhaps; then without the places that a descriptor names
 * other than the registry.
 *
 * @throws failed_precondition - the bytes are not those of the descriptor; nothing of them is kept, so that another attempt begins afresh
 */
export async function downloadBlob(descriptor: Descriptor, options: DownloadOptions): Promise<"stored" | "exists"> {
  const { urls = [], ...atRegistry } = descriptor;
  let attempt = await download(descriptor, options);
  if (attempt.wrong !== undefined && attempt.from > 0) attempt = await download(descriptor, options);
  if (attempt.wrong !== undefined && urls.length > 0) attempt = await download(atRegistry, options);
  if (attempt.wrong !== undefined) throw attempt.wrong.error;
  return attempt.state;
}

/** `undefined` when the blob is there, perhaps because somebody else has stored it while this waited. */
async function openIngest(
  descriptor: Descriptor,
  { content, signal }: DownloadOptions,
): Promise<ContentWriter | undefined> {
  const ref = ingestRef(descriptor);
  for (;;) {
    try {
      return await content.writer(ref, { total: descriptor.size, expected: descriptor.digest, signal });
    } catch (error) {
      if (isAlreadyExists(error)) return undefined;
      if (!isUnavailable(error)) throw error;
    }
    // Whoever holds the ref stores the blob or lets go of it. A store that is out of reach fails here too, for good.
    try {
      await content.status(ref, { signal });
    } catch (error) {
      if (!isNotFound(error)) throw error;
    }
    await sleep(LOCKED_POLL_MS, undefined, { signal });
  }
}

/** Why bytes were refused. */
interface WrongBytes {
  readonly error: unknown;
}

/** What came of downloading once. */
interface Attempt {
  readonly state: "stored" | "exists";
  /** How many bytes an earlier download had left. */
  readonly from: number;
  /** Why the bytes were refused, of which then none are left. */
  readonly wrong?: WrongBytes | undefined;
}

async function download(descriptor: Descriptor, options: DownloadOptions): Promise<Attempt> {
  await using writer = await openIngest(descriptor, options);
  if (writer === undefined) return { state: "exists", from: 0 };
  const { offset } = await writer.status(options);
  if (offset > descriptor.size) await writer.truncate(0, options);
  const from = offset > descriptor.size ? 0 : offset;
  options.onWriter?.(descriptor, writer, from);
  await receive(descriptor, writer, from, options);
  return { state: "stored", from, wrong: await commit(descriptor, writer, options) };
}

async function receive(
  descriptor: Descriptor,
  writer: ContentWriter,
  from: number,
  { fetch, signal, onProgress, onReceived }: DownloadOptions,
): Promise<void> {
  let offset = from;
  if (from < descriptor.size) {
    for await (const chunk of fetch(descriptor, { offset: from, signal })) {
      await writer.write(chunk, { signal });
      offset += chunk.length;
      releaseBytes(chunk);
      onProgress?.(descriptor, offset);
    }
  }
  onReceived?.();
}

async function commit(
  descriptor: Descriptor,
  writer: ContentWriter,
  { labels, signal, content }: DownloadOptions,
): Promise<WrongBytes | undefined> {
  const { digest, size } = descriptor;
  try {
    await writer.commit({ digest, size, signal, ...(labels && { labels }) });
    return undefined;
  } catch (error) {
    if (!isFailedPrecondition(error)) throw error;
    // Wrong bytes are of no use to a later download.
    await content.abort(ingestRef(descriptor)).catch(() => {});
    return { error };
  }
}

function kindOf(mediaType: string): string {
  if (isManifestType(mediaType)) return "manifest";
  if (isIndexType(mediaType)) return "index";
  if (isLayerType(mediaType)) return "layer";
  return isConfigType(mediaType) ? "config" : "unknown";
}
