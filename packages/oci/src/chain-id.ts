import { createHash } from "node:crypto";

import type { Digest } from "./digest.ts";
import { formatDigest } from "./digest.ts";

/**
 * This returns the chain ids of a stack of layers, base first: the first is the diff id itself, each next one the sha256 of
 * `<previous chain id> <diff id>`. A chain id names the committed snapshot of a layer.
 *
 * @see OCI image-spec 1.1, config.md, Layer ChainID
 */
export function chainIds(diffIds: readonly Digest[]): Digest[] {
  const chain: Digest[] = [];
  for (const diffId of diffIds) {
    const previous = chain.at(-1);
    chain.push(
      previous === undefined
        ? diffId
        : formatDigest("sha256", createHash("sha256").update(`${previous} ${diffId}`).digest("hex")),
    );
  }
  return chain;
}
