import { mkdtemp, realpath, rmdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { Client } from "@berth/client";
import type { LeaseResource } from "@berth/core/leases";
import { LeaseLabel } from "@berth/core/leases";
import type { Mount } from "@berth/core/mount";
import type { SnapshotInfo } from "@berth/core/snapshots";
import { alreadyExists, isAlreadyExists, isNotFound, isUnimplemented, notFound, wrapError } from "@berth/errors";
import { resolveImage } from "@berth/images";
import { hostPlatform, only, parsePlatform } from "@berth/oci";

import { parseLabels, requireArgument } from "../cli/arguments.ts";
import { defineCommand } from "../cli/command.ts";
import { booleanFlag, durationFlag, listFlag, stringFlag, unsupportedFlag } from "../cli/flags.ts";
import { chooseSnapshotter } from "../cli/namespace-defaults.ts";
import { NO_REGISTRY_FLAGS } from "../cli/registry-flags.ts";
import { snapshotterFlag } from "../cli/shared-flags.ts";
import { print } from "../output/print.ts";
import { endOnSignals } from "../process/interrupts.ts";

/** How directories begin that are made where no target is given. Asked when it is needed: a start-up snapshot would keep the answer. */
const ownDirectory = (): string => join(tmpdir(), "ctr-image-");

export const mount = defineCommand({
  usage: "<ref> [<target>]",
  description:
    "Mounts an image's files at a directory, read-only unless told otherwise, and prints where; without a target, at a new directory. It is unpacked first where it is not. The snapshot has the name of the target and is kept until `ctr images unmount --rm`: without --rm, the same can be mounted there again, with what --rw wrote.",
  examples: ["ctr images mount example.org/app:1 /mnt", "ctr images unmount --rm /mnt"],
  flags: {
    ...NO_REGISTRY_FLAGS,
    snapshotter: snapshotterFlag,
    label: listFlag("label of the snapshot, key=value"),
    rw: booleanFlag("what is written is kept in the snapshot"),
    platform: stringFlag("platform, e.g. linux/arm64, instead of the host's"),
    "sync-fs": booleanFlag("mount only when what was unpacked has reached the disk"),
    expiration: durationFlag(
      "the snapshot may be collected after this time, even while it is mounted (default: never)",
      {
        aliases: ["x"],
      },
    ),
  },
  async run({ flags, args, session }) {
    const name = requireArgument(args, 0, "no image given");
    using _signals = endOnSignals(session);
    const client = await session.client();
    const { signal } = session;
    const platform = only(flags.platform === "" ? hostPlatform() : parsePlatform(flags.platform));
    const target = await targetOf(args[1]);
    const snapshotter = await chooseSnapshotter(client, flags.snapshotter, signal);
    await using undo = new AsyncDisposableStack();
    undo.defer(() => removeOwnDirectory(target));
    const resource: LeaseResource = { type: `snapshots/${snapshotter}`, id: target };
    await takeLease(client, resource, { expireMs: flags.expiration, signal }, undo);
    const leased = client.scoped({ lease: target });
    const image = await leased.images.get(name, { signal });
    const { unpackImage } = await import("@berth/client/import");
    await unpackImage(leased, image.target, {
      snapshotter,
      platform,
      signal,
      ...(flags["sync-fs"] && { syncFs: true }),
    });
    const { chainId } = await resolveImage(leased.content, image.target, platform, { signal });
    const wanted = { kind: flags.rw ? "active" : "view", parent: chainId, labels: parseLabels(flags.label) } as const;
    const mounts = await snapshotHere(leased, resource, { snapshotter, wanted, signal }, undo);
    await mountHere(leased, mounts, target, signal);
    undo.move();
    print(`${target}\n`);
  },
});

async function targetOf(given: string | undefined): Promise<string> {
  if (given === undefined) return await mkdtemp(ownDirectory());
  try {
    return await realpath(given);
  } catch (error) {
    throw wrapError(error, `mount at ${given}`);
  }
}

/**
 * The lease is named like the target, so that unmounting finds it. One of an earlier mount there goes on, and expires anew.
 *
 * @throws already_exists - the earlier mount is still there
 */
async function takeLease(
  client: Client,
  resource: LeaseResource,
  { expireMs, signal }: { readonly expireMs: number; readonly signal: AbortSignal },
  undo: AsyncDisposableStack,
): Promise<void> {
  const { id } = resource;
  const expire = new Date(Date.now() + expireMs).toISOString();
  const labels = new Map(expireMs > 0 ? [[LeaseLabel.expire, expire]] : []);
  try {
    await client.leases.create({ id, labels }, { signal });
    undo.defer(() => client.leases.delete(id));
    return;
  } catch (error) {
    if (!isAlreadyExists(error)) throw error;
  }
  const { isMountPoint } = await import("@berth/linux/mount");
  // Two mounts of one upper directory harm each other.
  if (isMountPoint(id)) throw alreadyExists(`an image is mounted at ${id}: unmount it first`);
  const earlier = await Array.fromAsync(client.leases.list({ filters: [`id==${JSON.stringify(id)}`], signal }));
  if (!labels.has(LeaseLabel.expire) && earlier.every((lease) => !lease.labels.has(LeaseLabel.expire))) return;
  // Leases cannot be changed. Another one holds the snapshot in between, and for a day should this fail.
  const between = await client.lease({ signal });
  await between.hold(resource, { signal });
  await client.leases.delete(id);
  await client.leases.create({ id, labels });
  await client.leases.addResource(id, resource);
  await between[Symbol.asyncDispose]();
}

interface SnapshotHereOptions {
  readonly snapshotter: string;
  readonly wanted: Pick<SnapshotInfo, "parent" | "labels"> & { readonly kind: "active" | "view" };
  readonly signal: AbortSignal;
}

/**
 * This makes the snapshot, or takes that of an earlier mount at the target with what was written to it, and returns its mounts.
 *
 * @throws already_exists - a snapshot of the name is there that is not the one asked for
 */
async function snapshotHere(
  leased: Client,
  resource: LeaseResource,
  { snapshotter, wanted, signal }: SnapshotHereOptions,
  undo: AsyncDisposableStack,
): Promise<readonly Mount[]> {
  const key = resource.id;
  const service = leased.snapshotter(snapshotter);
  try {
    const make = wanted.kind === "active" ? "prepare" : "view";
    const mounts = await service[make](key, wanted.parent, { labels: wanted.labels, signal });
    undo.defer(() => service.remove(key));
    return mounts;
  } catch (error) {
    if (!isAlreadyExists(error)) throw error;
  }
  const { kind, parent } = await service.stat(key, { signal });
  if (kind !== wanted.kind || parent !== wanted.parent) {
    const what = parent === wanted.parent ? `a snapshot that is ${kind}, not ${wanted.kind},` : "one of another image";
    throw alreadyExists(`an earlier mount at ${key} has left ${what}; ctr images unmount --rm removes it`);
  }
  // With some daemons a new lease does not hold what was there before it.
  await leased.leases.addResource(key, resource, { signal });
  return await service.mounts(key, { signal });
}

/** What the kernel alone cannot mount is made by the daemon first, and held by the lease. */
async function mountHere(leased: Client, mounts: readonly Mount[], target: string, signal: AbortSignal): Promise<void> {
  const { arePlain } = await import("@berth/core/mount");
  const { mountAll } = await import("@berth/linux/mount");
  await using undo = new AsyncDisposableStack();
  let made = mounts;
  if (!arePlain(mounts)) {
    try {
      made = (await leased.mounts.activate(target, mounts, { signal })).system;
      undo.defer(() => leased.mounts.deactivate(target));
    } catch (error) {
      if (!isUnimplemented(error)) throw error;
    }
  }
  try {
    await mountAll(made, target);
  } catch (error) {
    throw wrapError(error, `mount at ${target}`);
  }
  undo.move();
}

export const unmount = defineCommand({
  usage: "<target>",
  flags: {
    ...NO_REGISTRY_FLAGS,
    snapshotter: snapshotterFlag,
    label: unsupportedFlag("nothing is made that could have it", "list"),
    rm: booleanFlag("remove the snapshot too"),
  },
  async run({ flags, args, session }) {
    const given = requireArgument(args, 0, "no target given: name the directory that the image is mounted at");
    const target = await targetOf(given);
    const client = await session.client();
    const { signal } = session;
    const { isMountPoint, unmountAll } = await import("@berth/linux/mount");
    if (!isMountPoint(target)) {
      if (!flags.rm) throw notFound(`nothing is mounted at ${target}`);
    } else await unmountAll(target, { signal });
    await orMissing(client.mounts.deactivate(target, { signal }));
    if (flags.rm) {
      const snapshotter = await chooseSnapshotter(client, flags.snapshotter, signal);
      await client.snapshotter(snapshotter).remove(target, { signal });
      await orMissing(client.leases.delete(target, { signal }));
      await removeOwnDirectory(target);
    }
    print(`${target}\n`);
  },
});

async function removeOwnDirectory(target: string): Promise<void> {
  // Never more than an empty directory: something may still be mounted there.
  if (target.startsWith(ownDirectory())) await rmdir(target).catch(() => {});
}

/** Only some mounts have been activated, and an older daemon activates none. */
async function orMissing(work: Promise<unknown>): Promise<void> {
  await work.catch((error: unknown) => {
    if (!isNotFound(error) && !isUnimplemented(error)) throw error;
  });
}
