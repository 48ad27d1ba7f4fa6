import { createHash, randomBytes } from "node:crypto";

import type { ContentStore } from "@berth/core/content";
import { type Digest, formatDigest } from "@berth/oci";

/** A content store under test. */
export interface ContentSubject extends AsyncDisposable {
  readonly store: ContentStore;
}

/** Bytes that no other test has, with their digest. */
export interface Sample {
  readonly bytes: Uint8Array;
  readonly digest: Digest;
}

/** This makes random bytes. */
export function sample(size = 4096): Sample {
  const bytes = new Uint8Array(randomBytes(size));
  return { bytes, digest: sha256(bytes) };
}

/** This hashes bytes. */
export function sha256(bytes: Uint8Array): Digest {
  return formatDigest("sha256", createHash("sha256").update(bytes).digest("hex"));
}

/** This stores a sample under a ref of its own. */
export async function store(subject: ContentSubject, content: Sample = sample()): Promise<Sample> {
  await using writer = await subject.store.writer(`store-${content.digest}`);
  await writer.write(content.bytes);
  await writer.commit({ digest: content.digest, size: content.bytes.length });
  return content;
}

/** This reads a blob whole. */
export async function readAll(subject: ContentSubject, digest: Digest): Promise<Uint8Array> {
  await using reader = await subject.store.reader(digest);
  return reader.readAt(0, reader.size);
}
