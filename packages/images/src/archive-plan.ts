import { createHash } from "node:crypto";
import { posix } from "node:path";

import { COMPRESSION_MAGIC_BYTES, detectCompression, type RandomAccess, scanTar } from "@berth/archive";
import type { CallOptions } from "@berth/core/any";
import type { ContentProvider } from "@berth/core/content";
import { failedPrecondition, notFound, resourceExhausted } from "@berth/errors";
import { type Descriptor, type Digest, digestAlgorithm, formatDigest, parseIndex } from "@berth/oci";

import { MAX_JSON_BYTES } from "./image-children.ts";

/** What an archive will turn out to hold. */
export interface ArchivePlan {
  /** What its index lists. */
  readonly entries: readonly Descriptor[];
  /** Its manifests and configurations, each held against its digest when it is read. */
  readonly documents: ContentProvider;
}

/** An image has dozens of files; of an archive with more, each of which costs a read, nothing is known in advance. */
const MAX_ENTRIES = 2000;

interface Place {
  readonly offset: number;
  readonly size: number;
}

/**
 * This looks ahead in an OCI layout: what images it holds, before its layers are read. `undefined` where that cannot be told without
 * reading it all: a compressed archive, another format, or one with very many files.
 *
 * @throws invalid_argument, data_loss, resource_exhausted - the archive or its index is malformed
 */
export async function planArchive(
  archive: RandomAccess,
  { signal }: CallOptions = {},
): Promise<ArchivePlan | undefined> {
  if (detectCompression(await archive.readAt(0, COMPRESSION_MAGIC_BYTES)) !== "none") return undefined;
  const places = new Map<string, Place>();
  let count = 0;
  for await (const { header, offset } of scanTar(archive)) {
    signal?.throwIfAborted();
    if (++count > MAX_ENTRIES) return undefined;
    if (header.type === "file" && !header.sparse)
      places.set(posix.normalize(header.path), { offset, size: header.size });
  }
  const index = places.get("index.json");
  if (index === undefined || !places.has("oci-layout")) return undefined;
  const { manifests } = parseIndex(await readPlace(archive, index), "index.json");
  return { entries: manifests, documents: { reader: (digest) => openDocument(archive, places, digest) } };
}

async function readPlace(archive: RandomAccess, { offset, size }: Place): Promise<Uint8Array> {
  if (size > MAX_JSON_BYTES) throw resourceExhausted(`a document of the archive has ${size} bytes`);
  return archive.readAt(offset, size);
}

async function openDocument(archive: RandomAccess, places: ReadonlyMap<string, Place>, digest: Digest) {
  const place = places.get(`blobs/${digest.replace(":", "/")}`);
  if (place === undefined) throw notFound(`${digest} in the archive`);
  const bytes = await readPlace(archive, place);
  const algorithm = digestAlgorithm(digest);
  const actual = formatDigest(algorithm, createHash(algorithm).update(bytes).digest("hex"));
  if (actual !== digest) throw failedPrecondition(`the archive's ${digest} has the digest ${actual}`);
  return {
    size: bytes.length,
    readAt: async (offset: number, length: number) => bytes.slice(offset, offset + length),
    [Symbol.asyncDispose]: async () => {},
  };
}
