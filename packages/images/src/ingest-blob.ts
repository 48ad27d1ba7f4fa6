import { randomBytes } from "node:crypto";

import type { CallOptions } from "@berth/core/any";
import type { ContentStore, ContentWriter } from "@berth/core/content";
import type { Labels } from "@berth/core/labels";
import { dataLoss, isAlreadyExists } from "@berth/errors";
import type { Digest } from "@berth/oci";

/** What to store. */
export interface BlobToIngest extends CallOptions {
  readonly ref: string;
  readonly size: number;
  /** Absent: the digest is computed. */
  readonly expected?: Digest | undefined;
  readonly body: AsyncIterable<Uint8Array>;
  readonly labels?: Labels;
  /** Called with the writer that takes the bytes, before the first. */
  readonly onWriter?: ((writer: ContentWriter) => void) | undefined;
  /** Called with the count of bytes that the writer has. */
  readonly onProgress?: ((offset: number) => void) | undefined;
}

/** Chunks are handed on in pieces of this size: each may cost a round trip. */
const PIECE_BYTES = 1 << 20;
/** Whose round trip does not count. */
const LARGE_BYTES = 1 << 18;

/** This returns a prefix for refs, so that two imports of one archive do not wait for each other's ingests. */
export function ingestPrefix(): string {
  return randomBytes(6).toString("hex");
}

/**
 * This streams a blob of unknown digest into the store; one that is there already is fine. After a failure its ingest is gone.
 *
 * @throws failed_precondition - the digest is not the expected one
 * @throws data_loss - the body has not `size` bytes
 */
export async function ingestBlob(
  content: ContentStore,
  blob: BlobToIngest,
): Promise<{ readonly digest: Digest; readonly size: number }> {
  const { ref, size, expected, signal } = blob;
  await using undo = new AsyncDisposableStack();
  undo.defer(() => dropIngest(content, ref));
  try {
    await using writer = await content.writer(ref, { total: size, signal, ...(expected ? { expected } : {}) });
    if ((await writer.status({ signal })).offset > 0) await writer.truncate(0, { signal });
    blob.onWriter?.(writer);
    await copyBody(writer, blob);
    const digest = expected ?? (await writer.digest({ signal }));
    await commit(writer, digest, blob);
    undo.move();
    return { digest, size };
  } catch (error) {
    if (expected === undefined || !isAlreadyExists(error)) throw error;
    return { digest: expected, size };
  }
}

async function commit(writer: ContentWriter, digest: Digest, { size, labels, signal }: BlobToIngest): Promise<void> {
  try {
    await writer.commit({ digest, size, signal, ...(labels === undefined ? {} : { labels }) });
  } catch (error) {
    if (!isAlreadyExists(error)) throw error;
  }
}

async function copyBody(writer: ContentWriter, { body, ref, size, signal, onProgress }: BlobToIngest): Promise<void> {
  let received = 0;
  for await (const piece of inPieces(body)) {
    signal?.throwIfAborted();
    received += piece.length;
    if (received > size) break;
    await writer.write(piece, { signal });
    onProgress?.(received);
  }
  if (received !== size) throw dataLoss(`${ref}: ${received} bytes came, not ${size}`);
}

/** Small chunks are joined, large ones passed through without a copy; order and bytes stay the same. */
async function* inPieces(body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  let piece = new Uint8Array(PIECE_BYTES);
  let filled = 0;
  for await (const chunk of body) {
    if (filled > 0 && (chunk.length >= LARGE_BYTES || filled + chunk.length > PIECE_BYTES)) {
      yield piece.subarray(0, filled);
      piece = new Uint8Array(PIECE_BYTES);
      filled = 0;
    }
    if (chunk.length >= LARGE_BYTES) yield chunk;
    else {
      piece.set(chunk, filled);
      filled += chunk.length;
    }
  }
  if (filled > 0) yield piece.subarray(0, filled);
}

/** Without the caller's signal: what an aborted import began is dropped all the same. */
async function dropIngest(content: ContentStore, ref: string): Promise<void> {
  // Nothing may have been begun; and when the store is out of reach the error that led here tells more than this one.
  await content.abort(ref).catch(() => {});
}
