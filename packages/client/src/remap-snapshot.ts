import { createHash, randomUUID } from "node:crypto";

import type { CallOptions } from "@berth/core/any";
import type { Labels } from "@berth/core/labels";
import type { Mount } from "@berth/core/mount";
import { activateMounts } from "@berth/core/mount";
import { SnapshotLabel } from "@berth/core/snapshots";
import { failedPrecondition, ignoreNotFound, invalidArgument, isAlreadyExists, isNotFound } from "@berth/errors";
import { formatDigest } from "@berth/oci";
import type { SpecIdMapping } from "@berth/oci/spec";

import type { Client } from "./client.ts";

/** The ids of a user namespace, and how the files of a container come to have them. */
export interface IdMapping {
  readonly uids: readonly SpecIdMapping[];
  readonly gids: readonly SpecIdMapping[];
  /** Leave it to the snapshotter, if it can: nothing is copied then. */
  readonly byLabels?: boolean;
  /** Gives each file of a root file system, which is not mounted, its owner on the host. Without it a snapshotter that cannot is an error. */
  readonly shift?: (mounts: readonly Mount[]) => Promise<void>;
}

/** On what, and with which labels besides, a container's snapshot is made. */
export interface SnapshotBase {
  readonly parent: string;
  readonly labels: Labels;
}

/**
 * This finds the parent of a snapshot whose files have mapped owners: that of the image, where the snapshotter maps by labels; else one made of it once, in which each file has
 * another owner. Two at once make it once.
 *
 * @throws failed_precondition - nobody can map the owners; invalid_argument - the root user is not mapped
 * @see containerd client/container_opts_unix.go, withRemappedSnapshotBase
 */
export async function mappedParent(
  leased: Client,
  snapshotterName: string,
  chainId: string,
  mapping: IdMapping,
  { signal }: CallOptions,
): Promise<SnapshotBase> {
  for (const ids of [mapping.uids, mapping.gids])
    if (!ids.some(({ containerID, size }) => containerID === 0 && size > 0))
      throw invalidArgument("the mappings of a user namespace have no place for the user 0");
  if (mapping.byLabels === true && (await canRemap(leased, snapshotterName, { signal })))
    return { parent: chainId, labels: mappingLabels(mapping) };
  const key = mappedKey(chainId, mapping);
  const snapshotter = leased.snapshotter(snapshotterName);
  if (await isThere(() => snapshotter.stat(key, { signal }))) return { parent: key, labels: new Map() };
  if (mapping.shift === undefined)
    throw failedPrecondition(`snapshotter ${snapshotterName} cannot map owners, and there is nobody else to do it`);
  await using undo = new AsyncDisposableStack();
  const working = `${key}-remap-${randomUUID()}`;
  const mounts = await snapshotter.prepare(working, chainId, { signal });
  undo.defer(() => snapshotter.remove(working).catch(ignoreNotFound));
  {
    await using activated = await activateMounts(leased.mounts, working, mounts, { signal });
    await mapping.shift(activated.mounts);
  }
  try {
    await snapshotter.commit(key, working, { signal });
    undo.move();
  } catch (error) {
    if (!isAlreadyExists(error)) throw error;
  }
  return { parent: key, labels: new Map() };
}

/** The name that containerd gives it, so that what one has made the other finds. */
function mappedKey(chainId: string, { uids, gids }: IdMapping): string {
  const text = JSON.stringify({ Parent: chainId, IDMap: { UidMap: sorted(uids), GidMap: sorted(gids) } });
  return formatDigest("sha256", createHash("sha256").update(text).digest("hex"));
}

function sorted(ids: readonly SpecIdMapping[]): readonly SpecIdMapping[] {
  return ids
    .map(({ containerID, hostID, size }) => ({ containerID, hostID, size }))
    .toSorted((a, b) => a.containerID - b.containerID);
}

function mappingLabels({ uids, gids }: IdMapping): Labels {
  const text = (ids: readonly SpecIdMapping[]): string =>
    ids.map(({ containerID, hostID, size }) => `${containerID}:${hostID}:${size}`).join(",");
  return new Map([
    [SnapshotLabel.uidMapping, text(uids)],
    [SnapshotLabel.gidMapping, text(gids)],
  ]);
}

async function canRemap(client: Client, snapshotter: string, { signal }: CallOptions): Promise<boolean> {
  const filters = [`type==io.containerd.snapshotter.v1,id==${snapshotter}`];
  const plugins = await client.plugins({ filters, signal });
  return plugins.some(({ id, capabilities }) => id === snapshotter && capabilities.includes("remap-ids"));
}

async function isThere(stat: () => Promise<{ readonly kind: string }>): Promise<boolean> {
  try {
    return (await stat()).kind === "committed";
  } catch (error) {
    if (isNotFound(error)) return false;
    throw error;
  }
}
