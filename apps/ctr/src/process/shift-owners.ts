import { chmodSync, lchownSync, lstatSync, readdirSync, type Stats } from "node:fs";
import { setImmediate as turn } from "node:timers/promises";

import type { CallOptions } from "@berth/core/any";
import type { Mount } from "@berth/core/mount";
import { failedPrecondition, wrapError } from "@berth/errors";
import { lfindxattr, lsetxattr } from "@berth/linux/files";
import { mountTemporary } from "@berth/linux/mount";
import type { SpecIdMapping } from "@berth/oci/spec";

/** The ids that files are to have. */
export interface ShiftOptions extends CallOptions {
  readonly uids: readonly SpecIdMapping[];
  readonly gids: readonly SpecIdMapping[];
}

const SLASH = Buffer.from("/");
const CAPABILITY = "security.capability";
const SET_ID_BITS = 0o7000;
const REVISION_2_BYTES = 20;
const REVISION_3 = 0x0300_0000;
const FLAGS_MASK = 0x00ff_ffff;

/**
 * This gives each file of a root file system, which it mounts for that, the owner that stands on the host for its owner in a user namespace. Rights of setuid programs and
 * capabilities of files are kept. A file with several names is changed once, or each of them where the change parts them.
 *
 * @throws failed_precondition - a file's owner is not mapped
 */
export async function shiftOwners(mounts: readonly Mount[], options: ShiftOptions): Promise<void> {
  await using mounted = await mountTemporary(mounts, options.signal === undefined ? {} : { signal: options.signal });
  const root = Buffer.from(mounted.path);
  const seen = new Set<string>();
  shiftOne(root, options, seen);
  const pending = [root];
  for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
    options.signal?.throwIfAborted();
    // Bytes: names need not be text.
    for (const name of readdirSync(path, { encoding: "buffer" })) {
      const child = Buffer.concat([path, SLASH, name]);
      if (shiftOne(child, options, seen).isDirectory()) pending.push(child);
    }
    await turn();
  }
}

function shiftOne(path: Buffer, options: ShiftOptions, seen: Set<string>): Stats {
  const stats = lstatSync(path);
  const hasNames = !stats.isDirectory() && stats.nlink > 1;
  if (hasNames && seen.has(keyOf(stats))) return stats;
  try {
    const capability = stats.isFile() ? lfindxattr(path, CAPABILITY) : undefined;
    lchownSync(path, hostId(options.uids, stats.uid, "user"), hostId(options.gids, stats.gid, "group"));
    // A change of the owner takes both away.
    if (!stats.isSymbolicLink() && (stats.mode & SET_ID_BITS) !== 0) chmodSync(path, stats.mode & 0o7777);
    if (capability !== undefined) lsetxattr(path, CAPABILITY, ofRoot(capability, hostId(options.uids, 0, "user")));
    // As it is now: the change may have made it a file of its own (overlayfs copies one name up), and the other names are yet to be changed.
    if (hasNames) seen.add(keyOf(lstatSync(path)));
  } catch (error) {
    throw wrapError(error, `map the owner of ${path.toString()}`);
  }
  return stats;
}

function keyOf({ dev, ino }: Stats): string {
  return `${dev}:${ino}`;
}

/** Capabilities that hold in the namespace whose root is `uid` on the host; those that name a root already stay its. */
function ofRoot(capability: Uint8Array, uid: number): Uint8Array {
  if (capability.length !== REVISION_2_BYTES) return capability;
  const named = new Uint8Array(REVISION_2_BYTES + 4);
  named.set(capability);
  const view = new DataView(named.buffer);
  view.setUint32(0, (view.getUint32(0, true) & FLAGS_MASK) | REVISION_3, true);
  view.setUint32(REVISION_2_BYTES, uid, true);
  return named;
}

function hostId(ids: readonly SpecIdMapping[], id: number, what: string): number {
  const range = ids.find(({ containerID, size }) => id >= containerID && id < containerID + size);
  if (range === undefined) throw failedPrecondition(`${what} ${id} is not mapped`);
  return range.hostID + (id - range.containerID);
}
