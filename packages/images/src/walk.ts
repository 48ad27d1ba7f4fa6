import type { Descriptor } from "@berth/oci";
import { resourceExhausted } from "@berth/errors";
import type { PlatformMatcher } from "@berth/oci";

/** Returns the children of a descriptor that shall be walked. */
export type ChildrenHandler = (descriptor: Descriptor) => Promise<readonly Descriptor[]>;

/** Indexes may hold indexes, but no honest image nests them deeper than this. */
const MAX_DEPTH = 32;

/**
 * This yields `root` and everything below it, parents first, each digest once. Leaving the loop stops the reading.
 *
 * @throws resource_exhausted - deeper than 32 levels
 */
export async function* walk(root: Descriptor, handler: ChildrenHandler): AsyncGenerator<Descriptor, void, undefined> {
  yield* walkBelow(root, handler, new Set(), 0);
}

async function* walkBelow(
  descriptor: Descriptor,
  handler: ChildrenHandler,
  seen: Set<string>,
  depth: number,
): AsyncGenerator<Descriptor, void, undefined> {
  if (depth > MAX_DEPTH) throw resourceExhausted(`image is nested deeper than ${MAX_DEPTH} levels`);
  if (isSeen(descriptor, seen)) return;
  yield descriptor;
  for (const child of await handler(descriptor)) yield* walkBelow(child, handler, seen, depth + 1);
}

/**
 * This says whether a walk has come to what a descriptor stands for before, and notes it: without that a few kilobytes of indexes which list
 * each other many times over are walked for ever.
 */
export function isSeen({ mediaType, digest }: Descriptor, seen: Set<string>): boolean {
  // The same blob may be a layer here and something else there: both count.
  const key = `${mediaType} ${digest}`;
  if (seen.has(key)) return true;
  seen.add(key);
  return false;
}

/** This leaves out children of other platforms; those that name none are kept. */
export function filterPlatforms(handler: ChildrenHandler, matcher: PlatformMatcher): ChildrenHandler {
  return async (descriptor) =>
    (await handler(descriptor)).filter(({ platform }) => platform === undefined || matcher.matches(platform));
}
