import { readdir } from "node:fs/promises";
import { join } from "node:path";

import type { Logger } from "@berth/core/log";
import { ignoreNotFound } from "@berth/errors";
import { type Digest, isDigest, isDigestAlgorithm } from "@berth/oci";

import type { StorePaths } from "./blob-path.ts";

/** This lists the blobs of a store, in the order of their digests. Files that are not named like one are logged and left out. */
export async function listDigests(paths: StorePaths, log: Logger): Promise<Digest[]> {
  const algorithms = (await readdir(paths.blobs).catch(ignoreNotFound)) ?? [];
  const digests: Digest[] = [];
  for (const algorithm of algorithms.filter(isDigestAlgorithm)) {
    for (const name of await readdir(join(paths.blobs, algorithm))) {
      const digest = `${algorithm}:${name}`;
      if (isDigest(digest)) digests.push(digest);
      else log.warn("file among the blobs is not named like one", { path: digest });
    }
  }
  return digests.toSorted();
}
