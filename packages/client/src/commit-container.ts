import type { CallOptions } from "@berth/core/any";
import type { Container } from "@berth/core/containers";
import { UNCOMPRESSED_LABEL } from "@berth/core/diff";
import type { Image } from "@berth/core/images";
import type { Labels } from "@berth/core/labels";
import { noLabels } from "@berth/core/labels";
import { failedPrecondition, isNotFound, isUnimplemented } from "@berth/errors";
import type { CommitImageOptions, ResolvedImage } from "@berth/images";
import { commitImage, convertLayer, resolveImage } from "@berth/images";
import type { Descriptor, Digest, PlatformMatcher } from "@berth/oci";
import { hostPlatform, MediaType, only, parseDigest } from "@berth/oci";

import type { Client, HeldLease } from "./client.ts";
import { createDiff } from "./create-diff.ts";
import { freezeTask } from "./freeze-task.ts";
import { holdImage } from "./hold-image.ts";
import { storeImage } from "./store-image.ts";

/** Options of {@link commitContainer}. */
export interface CommitContainerOptions
  extends CallOptions, Pick<CommitImageOptions, "author" | "message" | "createdBy" | "changes"> {
  /** Freeze a running task while its files are read; yes. */
  readonly pause?: boolean;
  /** Make one layer of all files, also of a container whose image is not here any more. */
  readonly squash?: boolean;
  /** Of the new layer; gzip. */
  readonly compression?: CommitImageOptions["compression"];
  /** By which the container's image is chosen from an index; the host's. */
  readonly platform?: PlatformMatcher;
  /** Stands in for now, and no file's time is later: the same files then give the same image. Milliseconds since 1970. */
  readonly sourceDateEpoch?: number;
  /** Of the image. */
  readonly labels?: Labels;
}

const LAYER_TYPES = { none: MediaType.ociLayer, gzip: MediaType.ociLayerGzip, zstd: MediaType.ociLayerZstd };

/**
 * This makes an image of what a container has changed in its files, over the image that it was made from. Whatever the outcome, a task that was frozen for it runs on.
 *
 * @throws not_found - no such container
 * @throws failed_precondition - it has no snapshot, or its snapshot does not stand on its image, which may be gone or stand for
 * something else by now; `squash` needs none
 * @throws invalid_argument - a change; as `createDiff`
 */
export async function commitContainer(
  client: Client,
  id: string,
  name: string,
  options: CommitContainerOptions = {},
): Promise<Image> {
  const { signal, sourceDateEpoch, compression = "gzip", squash = false, labels = noLabels } = options;
  await using lease = await client.lease({ signal });
  const leased = lease.client;
  const container = await leased.containers.get(id, { signal });
  if (container.snapshotKey === "")
    throw failedPrecondition(`container ${id} has no snapshot: its files are in a directory`);
  const base = squash ? await findBase(lease, container, options) : await getBase(lease, container, options);
  const layer = await diffOf(leased, container, { ...options, compression, squash });
  const target = await commitImage({
    ...options,
    content: leased.content,
    base,
    isWhole: squash,
    platform: hostPlatform(),
    layer,
    compression,
    diffId: await diffIdOf(leased, layer, signal),
    createdAt: sourceDateEpoch ?? Date.now(),
  });
  const epoch = sourceDateEpoch === undefined ? {} : { sourceDateEpoch };
  return await storeImage(leased.images, { name, target, labels }, { signal, ...epoch });
}

/** What the container's snapshot stands on. */
async function getBase(
  lease: HeldLease,
  container: Container,
  options: CommitContainerOptions,
): Promise<ResolvedImage> {
  const { id, image, snapshotter, snapshotKey } = container;
  const base = await findBase(lease, container, options);
  if (base === undefined)
    throw failedPrecondition(
      `image ${JSON.stringify(image)} of container ${id} is not here: its files can be committed as one layer, with squash`,
    );
  const { parent } = await lease.client.snapshotter(snapshotter).stat(snapshotKey, { signal: options.signal });
  if (parent === base.chainId) return base;
  throw failedPrecondition(
    `snapshot of container ${id} stands on ${JSON.stringify(parent)}, its image ${image} on ${JSON.stringify(base.chainId)}: its files can be committed as one layer, with squash`,
  );
}

async function findBase(
  lease: HeldLease,
  { image }: Container,
  { platform = only(hostPlatform()), signal }: CommitContainerOptions,
): Promise<ResolvedImage | undefined> {
  if (image === "") return undefined;
  try {
    const { target } = await holdImage(lease, image, { signal });
    return await resolveImage(lease.client.content, target, platform, { signal });
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

async function diffOf(
  leased: Client,
  { id, snapshotter, snapshotKey }: Container,
  options: CommitContainerOptions & Required<Pick<CommitContainerOptions, "compression" | "squash">>,
): Promise<Descriptor> {
  const { signal, sourceDateEpoch, squash, compression, pause = true } = options;
  await using frozen = new AsyncDisposableStack();
  if (pause) await freezeTask(leased.tasks.task(id), frozen, { signal });
  const diff = (mediaType: string): Promise<Descriptor> =>
    createDiff(leased, snapshotKey, {
      snapshotter,
      mediaType,
      signal,
      ...(squash && { lower: "" }),
      ...(sourceDateEpoch !== undefined && { sourceDateEpoch }),
    });
  try {
    return await diff(LAYER_TYPES[compression]);
  } catch (error) {
    if (!isUnimplemented(error) || compression === "none") throw error;
  }
  // A daemon that does not compress so: it is done here.
  const plain = await diff(LAYER_TYPES.none);
  const diffId = await diffIdOf(leased, plain, signal);
  return await convertLayer(plain, diffId, { content: leased.content, compression, signal });
}

/** A tar that is not compressed has no label in containerd: it is its own. */
async function diffIdOf(leased: Client, { digest }: Descriptor, signal: AbortSignal | undefined): Promise<Digest> {
  const { labels } = await leased.content.info(digest, { signal });
  const known = labels.get(UNCOMPRESSED_LABEL);
  return known === undefined || known === "" ? digest : parseDigest(known);
}
