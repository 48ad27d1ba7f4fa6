import { systemErrorCode } from "@berth/errors";
import { setImmutable } from "@berth/linux/files";

import { directoryPlaces, type PlaceOperations } from "../snapshot-places.ts";
import type { TreeWorkers } from "../tree-workers.ts";
import { erofsPath } from "./erofs-paths.ts";

/** No layer, a link into a cache, or a file system without the flag: nothing to take back. */
const HARMLESS: ReadonlySet<string | undefined> = new Set(["ENOENT", "ENOTDIR", "ELOOP", "ENOTTY", "EOPNOTSUPP"]);

/** This says that a directory lies at each place, whose layer may be immutable. */
export function erofsPlaces(trees: TreeWorkers): PlaceOperations {
  const directories = directoryPlaces(trees);
  return {
    ...directories,
    remove: async (path, options) => {
      allowRemoval(path);
      await directories.remove(path, options);
    },
  };
}

/** This takes the immutable flag off the layer in a directory, if there is one. */
export function allowRemoval(path: string): void {
  try {
    setImmutable(erofsPath(path, "layer"), false);
  } catch (error) {
    if (!HARMLESS.has(systemErrorCode(error))) throw error;
  }
}
