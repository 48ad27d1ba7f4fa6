import type { IdMapping } from "@berth/client/run";
import { invalidArgument } from "@berth/errors";
import type { SpecIdMapping } from "@berth/oci/spec";

/** The flags of a user namespace. */
export interface IdMappingFlags {
  readonly uidmap?: readonly string[];
  readonly gidmap?: readonly string[];
  readonly "remap-labels"?: boolean;
}

/** The number after it stands for no id. */
const MAX_ID = 2 ** 32 - 2;

/**
 * This reads the flags of a user namespace, each `CONTAINER-ID:HOST-ID:SIZE`; nothing where there are none.
 *
 * @throws invalid_argument - a malformed one, or users without groups
 */
export function parseIdMapping(flags: IdMappingFlags, signal: AbortSignal): IdMapping | undefined {
  const { uidmap = [], gidmap = [] } = flags;
  const byLabels = flags["remap-labels"] === true;
  if (uidmap.length === 0 && gidmap.length === 0) {
    if (byLabels) throw invalidArgument("flag --remap-labels needs --uidmap and --gidmap");
    return undefined;
  }
  if (uidmap.length === 0 || gidmap.length === 0)
    throw invalidArgument("flags --uidmap and --gidmap must be given together");
  const [uids, gids] = [uidmap.map(parseRange), gidmap.map(parseRange)];
  return {
    uids,
    gids,
    byLabels,
    shift: async (mounts) => {
      const { shiftOwners } = await import("./shift-owners.ts");
      await shiftOwners(mounts, { uids, gids, signal });
    },
  };
}

function parseRange(text: string): SpecIdMapping {
  const parts = text.split(":").map((part) => (/^(\d+|0[xX][\da-fA-F]+|0[oO][0-7]+)$/.test(part) ? Number(part) : -1));
  const [containerID = -1, hostID = -1, size = -1] = parts;
  if (parts.length !== 3 || Math.min(...parts) < 0 || size === 0)
    throw invalidArgument(`invalid id mapping ${JSON.stringify(text)}: expected CONTAINER-ID:HOST-ID:SIZE`);
  if (Math.max(containerID, hostID) + size - 1 > MAX_ID)
    throw invalidArgument(`id mapping ${JSON.stringify(text)} goes beyond the last id`);
  return { containerID, hostID, size };
}
