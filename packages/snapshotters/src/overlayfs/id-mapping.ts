import type { Labels } from "@berth/core/labels";
import { SnapshotLabel } from "@berth/core/snapshots";
import { invalidArgument } from "@berth/errors";

/** Who owns the root directory of a snapshot, as the host sees it. */
export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/**
 * This returns the host's ids of the container's root, where the labels of a snapshot map ids.
 *
 * @throws invalid_argument - a label is no mapping, one of the two is missing, or root is not mapped
 */
export function mappedRoot(labels: Labels): Owner | undefined {
  const uids = labels.get(SnapshotLabel.uidMapping);
  const gids = labels.get(SnapshotLabel.gidMapping);
  if (uids === undefined && gids === undefined) return undefined;
  return { uid: hostIdOfRoot(uids ?? "", "uid"), gid: hostIdOfRoot(gids ?? "", "gid") };
}

/** Mappings are `container:host:size`, several joined by commas. */
function hostIdOfRoot(text: string, what: string): number {
  for (const range of text.split(",")) {
    const match = /^(\d{1,10}):(\d{1,10}):(\d{1,10})$/.exec(range);
    if (match === null) throw invalidArgument(`invalid ${what} mapping ${JSON.stringify(text)}`);
    const [, container = "", host = "", size = ""] = match;
    if (Number(container) === 0 && Number(size) > 0) return Number(host);
  }
  throw invalidArgument(`${what} mapping ${JSON.stringify(text)} does not map root`);
}
