import { createHash } from "node:crypto";

import { type Digest, digestAlgorithm, digestHex } from "@berth/oci";

const LARGEST_BYTES = 32 * 1024;
const ALL_BYTES = 1024 * 1024;

/**
 * Bytes of small blobs that were read lately, manifests and configurations: a client that starts a container reads each of them
 * several times, and a file costs four turns of the thread pool.
 *
 * What is kept has been hashed, so that it stays right whatever becomes of the file.
 */
export class SmallBlobs {
  /** From the one used longest ago to the latest. */
  readonly #kept = new Map<Digest, Uint8Array>();
  #size = 0;
  #removals = 0;

  /** This changes whenever a blob is forgotten: what was opened before then must not be kept. */
  get age(): number {
    return this.#removals;
  }

  /** The result is shared: whoever hands it on copies it. */
  find(digest: Digest): Uint8Array | undefined {
    const bytes = this.#kept.get(digest);
    if (bytes === undefined) return undefined;
    this.#kept.delete(digest);
    this.#kept.set(digest, bytes);
    return bytes;
  }

  /** Whether a blob of this size is kept once it has been read whole. */
  isSmall(size: number): boolean {
    return size <= LARGEST_BYTES;
  }

  /** This keeps a copy of a blob that was opened at `age`, unless one was forgotten since, or the bytes are not those of the digest. */
  keep(digest: Digest, bytes: Uint8Array, age: number): void {
    if (age !== this.#removals || this.#kept.has(digest) || !this.isSmall(bytes.length)) return;
    if (createHash(digestAlgorithm(digest)).update(bytes).digest("hex") !== digestHex(digest)) return;
    this.#kept.set(digest, bytes.slice());
    this.#size += bytes.length;
    for (const oldest of this.#kept.keys()) {
      if (this.#size <= ALL_BYTES) return;
      this.#drop(oldest);
    }
  }

  /** The blob is gone. */
  forget(digest: Digest): void {
    this.#removals += 1;
    this.#drop(digest);
  }

  #drop(digest: Digest): void {
    this.#size -= this.#kept.get(digest)?.length ?? 0;
    this.#kept.delete(digest);
  }
}
