import {
  COMPRESSION_MAGIC_BYTES,
  detectCompression,
  type RandomAccess,
  releaseBytes,
  scanTar,
  TAR_END_MARKER,
} from "@berth/archive";
import type { CallOptions } from "@berth/core/any";
import { dataLoss } from "@berth/errors";

/** An image has dozens of files; an archive with more, each of which costs a read, is left as it is. */
const MAX_ENTRIES = 2000;
/** What describes an image is smaller; a layer that is too is soon unpacked anyway. */
const DOCUMENT_BYTES = 1 << 20;
const CHUNK_BYTES = 1 << 20;

/** A part of the archive: an entry with all its headers. */
interface Part {
  readonly start: number;
  readonly end: number;
}

/**
 * This gives an archive of images in another order: what is small, and so whatever describes the layers, before them. Whoever reads it can
 * then unpack each layer while it comes. A chunk is valid until the next one is asked for. `undefined` where the archive would have to be
 * read for this, or cannot be taken apart.
 */
export async function describedFirst(
  archive: RandomAccess,
  { signal }: CallOptions = {},
): Promise<AsyncIterable<Uint8Array> | undefined> {
  if (detectCompression(await archive.readAt(0, COMPRESSION_MAGIC_BYTES)) !== "none") return undefined;
  // What is wrong with it is told by whoever reads it.
  const parts = await partsOf(archive, signal).catch(() => undefined);
  return parts && readParts(archive, parts, signal);
}

async function partsOf(archive: RandomAccess, signal: AbortSignal | undefined): Promise<Part[] | undefined> {
  const documents: Part[] = [];
  const layers: Part[] = [];
  let start = 0;
  for await (const { end } of scanTar(archive)) {
    signal?.throwIfAborted();
    if (documents.length + layers.length === MAX_ENTRIES) return undefined;
    (end - start <= DOCUMENT_BYTES ? documents : layers).push({ start, end });
    start = end;
  }
  return [...documents, ...layers];
}

async function* readParts(
  archive: RandomAccess,
  parts: readonly Part[],
  signal: AbortSignal | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  for (const { start, end } of parts) {
    for (let offset = start; offset < end;) {
      signal?.throwIfAborted();
      const bytes = await archive.readAt(offset, Math.min(CHUNK_BYTES, end - offset));
      if (bytes.length === 0) throw dataLoss(`the archive ended at ${offset} while it was read`);
      offset += bytes.length;
      yield bytes;
      releaseBytes(bytes);
    }
  }
  yield TAR_END_MARKER;
}
