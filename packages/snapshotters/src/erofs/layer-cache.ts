import { stat } from "node:fs/promises";
import { join } from "node:path";

import type { Labels } from "@berth/core/labels";
import type { Logger } from "@berth/core/log";
import { SnapshotLabel } from "@berth/core/snapshots";
import { messageOf, systemErrorCode } from "@berth/errors";
import { parseDigest } from "@berth/oci";

/**
 * This finds the image of the layer that a snapshot is extracted from, by its diff id, in the first directory that has it:
 * `<directory>/<algorithm>/<first two digits>/<digits>.erofs`. What goes wrong is a miss: the layer is then made as any other.
 */
export async function findCachedLayer(
  directories: readonly string[],
  labels: Labels,
  log: Logger,
): Promise<string | undefined> {
  const diffId = labels.get(SnapshotLabel.diffId);
  if (directories.length === 0 || diffId === undefined || !labels.get(SnapshotLabel.ref)) return undefined;
  const name = cachedName(diffId);
  if (name === undefined) {
    log.warn("invalid diff id of a layer, not looked up in the cache", { diffId });
    return undefined;
  }
  for (const directory of directories) {
    const path = join(directory, name);
    try {
      if ((await stat(path)).isFile()) return path;
    } catch (error) {
      if (systemErrorCode(error) === "ENOENT") continue;
      log.warn("failed to look into a cache of layers", { path, error: messageOf(error) });
    }
  }
  return undefined;
}

function cachedName(diffId: string): string | undefined {
  try {
    const [algorithm = "", encoded = ""] = parseDigest(diffId).split(":");
    return join(algorithm, encoded.slice(0, 2), `${encoded}.erofs`);
  } catch {
    return undefined;
  }
}
