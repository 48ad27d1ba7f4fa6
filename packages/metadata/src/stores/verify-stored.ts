import { createHash } from "node:crypto";

import type { CallOptions } from "@berth/core/any";
import type { ContentProvider } from "@berth/core/content";
import { streamBlob } from "@berth/core/content";
import { failedPrecondition } from "@berth/errors";
import type { Digest } from "@berth/oci";
import { digestAlgorithm, formatDigest } from "@berth/oci";

/**
 * This reads a blob back and holds it against its digest, and against the digest of another algorithm that was computed of the bytes that
 * were shown for it.
 *
 * @throws failed_precondition - it is another one
 */
export async function verifyStored(
  content: ContentProvider,
  digest: Digest,
  shown: Digest,
  options: CallOptions,
): Promise<void> {
  const wanted = [digest, shown];
  const hashes = wanted.map((each) => createHash(digestAlgorithm(each)));
  for await (const chunk of streamBlob(content, digest, options)) for (const hash of hashes) hash.update(chunk);
  for (const [index, each] of wanted.entries()) {
    const actual = formatDigest(digestAlgorithm(each), hashes[index]?.digest("hex") ?? "");
    if (actual !== each) throw failedPrecondition(`the store's ${digest} has the digest ${actual}, not ${each}`);
  }
}
