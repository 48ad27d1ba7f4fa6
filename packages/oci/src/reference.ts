import { invalidArgument } from "@berth/errors";

import type { Digest } from "./digest.ts";
import { isDigest } from "./digest.ts";

/**
 * The name of an image in a registry: `locator` is host and path, `object` is what follows the first `:` or `@` of the path.
 *
 * @see containerd pkg/reference, Spec
 */
export interface Reference {
  readonly locator: string;
  /** A tag, a tag with `@` and a digest, or `@` and a digest; empty when none is given. */
  readonly object: string;
}

/**
 * This splits an image reference; short names are not expanded.
 *
 * @throws invalid_argument - a scheme, white space, or no host and path
 */
export function parseReference(text: string): Reference {
  if (text.includes("://")) throw invalidArgument(`invalid reference ${JSON.stringify(text)}: a scheme is not allowed`);
  if (text === "" || /\s/.test(text)) throw invalidArgument(`invalid reference ${JSON.stringify(text)}`);
  const slash = text.indexOf("/");
  if (slash <= 0) throw invalidArgument(`invalid reference ${JSON.stringify(text)}: host and path are required`);
  const split = text.slice(slash).search(/[:@]/);
  if (split < 0) return { locator: text, object: "" };
  const cut = slash + split;
  return {
    locator: text.slice(0, cut),
    object: text[cut] === ":" ? text.slice(cut + 1) : text.slice(cut),
  };
}

/** This writes a reference; the inverse of {@link parseReference}. */
export function formatReference({ locator, object }: Reference): string {
  if (object === "") return locator;
  return object.startsWith("@") ? `${locator}${object}` : `${locator}:${object}`;
}

/** This returns the host (with port) of a reference. */
export function referenceHost({ locator }: Reference): string {
  return locator.slice(0, locator.indexOf("/"));
}

/** This returns the digest of a reference, `undefined` when it names none. */
export function referenceDigest({ object }: Reference): Digest | undefined {
  const digest = object.slice(object.indexOf("@") + 1);
  return object.includes("@") && isDigest(digest) ? digest : undefined;
}
