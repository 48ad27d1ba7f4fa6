import type { CallOptions } from "@berth/core/any";
import type { ActiveMount, Mount } from "@berth/core/mount";

import type { AllowedRoots } from "./allowed-roots.ts";
import { expandTemplates } from "./expand-template.ts";
import { makeDirectories } from "./make-directories.ts";
import type { FileSystemMaker } from "./make-file-system.ts";

const TRANSFORMATIONS = ["format", "mkfs", "mkdir"] as const;

/** What stands before the `/` of a mount's type. */
export type Transformation = (typeof TRANSFORMATIONS)[number];

/** This tells transformations from file systems whose name has a slash. */
export function isTransformation(prefix: string): prefix is Transformation {
  return TRANSFORMATIONS.some((each) => each === prefix);
}

/** What transformations work on. */
export interface TransformOptions extends CallOptions {
  /** The mounts made so far. */
  readonly active: readonly ActiveMount[];
  readonly roots: AllowedRoots;
  readonly makeFileSystem: FileSystemMaker;
}

/** This applies transformations one after the other; the type of the result is without them. */
export async function transform(
  mount: Mount,
  transformations: readonly Transformation[],
  options: TransformOptions,
): Promise<Mount> {
  let result = mount;
  for (const each of transformations) {
    const changed = await transformOnce(result, each, options);
    result = { ...changed, type: result.type.slice(each.length + 1) };
  }
  return result;
}

async function transformOnce(mount: Mount, transformation: Transformation, options: TransformOptions): Promise<Mount> {
  if (transformation === "format") return expandTemplates(mount, options.active);
  if (transformation === "mkdir") return makeDirectories(mount, options.roots);
  return await options.makeFileSystem(mount, options);
}
