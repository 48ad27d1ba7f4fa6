import { invalidArgument } from "@berth/errors";

declare const digestBrand: unique symbol;

/** The hash of some bytes, `<algorithm>:<lower-case hex>`; made only by {@link parseDigest}. */
export type Digest = string & { readonly [digestBrand]: true };

/** The algorithms that berth can compute, with their length in hex digits. */
const HEX_LENGTHS: ReadonlyMap<string, number> = new Map([
  ["sha256", 64],
  ["sha384", 96],
  ["sha512", 128],
]);

/** The algorithms that berth can compute, in order of preference. */
export type DigestAlgorithm = "sha256" | "sha384" | "sha512";

/**
 * This checks that `text` is a digest of a known algorithm and returns it branded.
 *
 * @throws invalid_argument - unknown algorithm, wrong length, or anything but lower-case hex
 */
export function parseDigest(text: string): Digest {
  if (!isDigest(text)) throw invalidArgument(`invalid digest ${JSON.stringify(text)}`);
  return text;
}

/** This says whether `text` is a digest of a known algorithm. */
export function isDigest(text: string): text is Digest {
  const colon = text.indexOf(":");
  const length = HEX_LENGTHS.get(text.slice(0, Math.max(colon, 0)));
  return length !== undefined && text.length === colon + 1 + length && /^[0-9a-f]+$/.test(text.slice(colon + 1));
}

/** This says whether berth can compute the algorithm of that name. */
export function isDigestAlgorithm(name: string): name is DigestAlgorithm {
  return HEX_LENGTHS.has(name);
}

/** This returns the algorithm of a digest, as `node:crypto` names it. */
export function digestAlgorithm(digest: Digest): DigestAlgorithm {
  const name = digest.slice(0, digest.indexOf(":"));
  if (!isDigestAlgorithm(name)) throw invalidArgument(`invalid digest ${JSON.stringify(digest)}`);
  return name;
}

/** This returns the hex part of a digest. */
export function digestHex(digest: Digest): string {
  return digest.slice(digest.indexOf(":") + 1);
}

/**
 * This joins an algorithm and a hex hash, the way `createHash(algorithm).digest("hex")` gives it.
 *
 * @throws invalid_argument - the two do not fit together
 */
export function formatDigest(algorithm: DigestAlgorithm, hex: string): Digest {
  return parseDigest(`${algorithm}:${hex}`);
}
