import { createHash, type Hash } from "node:crypto";
import type { FileHandle } from "node:fs/promises";

import type { CallOptions } from "@berth/core/any";
import { dataLoss } from "@berth/errors";
import type { DigestAlgorithm } from "@berth/oci";

/** Small enough that hashing one chunk holds the thread for about half a millisecond. */
export const CHUNK_BYTES = 1 << 20;

/** This hashes the first `size` bytes of a file, reading the next chunk while it hashes one. The hash may be continued. */
export async function hashFile(
  file: FileHandle,
  algorithm: DigestAlgorithm,
  size: number,
  options: CallOptions = {},
): Promise<Hash> {
  const hash = createHash(algorithm);
  let [current, next] = [new Uint8Array(CHUNK_BYTES), new Uint8Array(CHUNK_BYTES)];
  const read = (bytes: Uint8Array, position: number) =>
    file.read(bytes, 0, Math.min(bytes.length, size - position), position);
  let pending = size > 0 ? read(next, 0) : undefined;
  for (let offset = 0; pending !== undefined;) {
    const { bytesRead } = await pending;
    if (bytesRead === 0) throw dataLoss(`hash: file ends at ${offset}, not at ${size}`);
    options.signal?.throwIfAborted();
    [current, next] = [next, current];
    offset += bytesRead;
    pending = offset < size ? read(next, offset) : undefined;
    hash.update(current.subarray(0, bytesRead));
  }
  return hash;
}
