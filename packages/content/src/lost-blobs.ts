import { readdir, stat, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";

import { makeDirectoryDurably, renameDurably, syncDirectory } from "@berth/core/durable-files";
import { ignoreNotFound } from "@berth/errors";
import { type Digest, digestAlgorithm, digestHex, isDigest } from "@berth/oci";

import { blobPath, type StorePaths } from "./blob-path.ts";

/**
 * The blobs that were found damaged and moved aside: files `corrupt/<algorithm>-<hex>`, there until the blob is stored again. So they
 * are known after a restart too, to those who keep records of blobs.
 */
export class LostBlobs {
  readonly #paths: StorePaths;
  readonly #lost: Set<Digest>;
  readonly #listeners = new Set<(digest: Digest) => void>();

  private constructor(paths: StorePaths, lost: Set<Digest>) {
    this.#paths = paths;
    this.#lost = lost;
  }

  /** This reads what was moved aside earlier. */
  static async open(paths: StorePaths): Promise<LostBlobs> {
    const lost = new Set<Digest>();
    for (const name of (await readdir(paths.corrupt).catch(ignoreNotFound)) ?? []) {
      const digest = name.replace("-", ":");
      if (isDigest(digest) && (await stat(blobPath(paths, digest)).catch(ignoreNotFound)) === undefined)
        lost.add(digest);
    }
    return new LostBlobs(paths, lost);
  }

  /** This calls `listener` for each lost blob, those of the past at once. Disposing the result ends that. */
  watch(listener: (digest: Digest) => void): Disposable {
    this.#listeners.add(listener);
    for (const digest of this.#lost) listener(digest);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  /** This moves a blob aside and tells so. When it resolves, the blob is gone for good. @returns where it is now */
  async moveAside(digest: Digest): Promise<string> {
    const from = blobPath(this.#paths, digest);
    const to = this.#path(digest);
    await makeDirectoryDurably(this.#paths.corrupt);
    await renameDurably(from, to);
    await syncDirectory(dirname(from));
    this.#lost.add(digest);
    for (const listener of this.#listeners) listener(digest);
    return to;
  }

  /** This removes what was kept of a blob that has been stored again. */
  async foundAgain(digest: Digest): Promise<void> {
    if (this.#lost.delete(digest)) await unlink(this.#path(digest)).catch(ignoreNotFound);
  }

  #path(digest: Digest): string {
    return join(this.#paths.corrupt, `${digestAlgorithm(digest)}-${digestHex(digest)}`);
  }
}
