import type { AnyValue, CallOptions } from "@berth/core/any";
import type { Container } from "@berth/core/containers";
import type { Image } from "@berth/core/images";
import { noLabels } from "@berth/core/labels";
import { ignoreNotFound, invalidArgument, isAlreadyExists, wrapError } from "@berth/errors";
import type { Descriptor } from "@berth/oci";
import { isIndexType, isManifestType, MediaType } from "@berth/oci";
import { decodeSpec } from "@berth/oci/spec";

import type { CheckpointOrigin } from "./checkpoint-index.ts";
import { CheckpointType, readCheckpoint, readPart, requirePart } from "./checkpoint-index.ts";
import { harmlessSpec } from "./checkpoint-trust.ts";
import type { Client, HeldLease } from "./client.ts";
import { createRecord, prepareSnapshot } from "./create-container.ts";
import { createOrNot } from "./create-or-not.ts";
import { holdImage } from "./hold-image.ts";

/** Options of {@link restoreContainer}. */
export interface RestoreContainerOptions extends CallOptions {
  /** Also the changed files; without it the container begins with those of its image. */
  readonly files?: boolean;
  /**
   * The checkpoint's word is taken for what runs as root on the daemon's machine: its runtime by a path, options of that, hooks, mounts, devices, annotations, rights, and the memory
   * of its processes, which names their rights. Without it a checkpoint is refused that asks for more than a container has which is made without flags, its spec is written
   * anew as it was looked at, and the memory is kept back.
   */
  readonly trust?: boolean;
}

/** A container that was made again, and what `startTask` takes as `checkpoint` for its processes to go on where they were. */
export interface RestoredContainer {
  readonly container: Container;
  /** Absent from a checkpoint without a task, and from one that is not trusted. */
  readonly memory?: Descriptor;
  /** The container's image, where it came from the checkpoint and its name was free: who gives the container up deletes it too. */
  readonly madeImage?: Image;
}

/**
 * This makes a container from a checkpoint: with its spec and runtime, from its image, which comes from the checkpoint where that has it, and gets its name back if that is free.
 * After a failure no container, no snapshot and no new name is left. Whoever could write the checkpoint chooses what the container runs: see `trust`.
 *
 * @throws not_found - no image of that name, or a blob of it, or the container's image is neither here nor in it
 * @throws permission_denied - it asks for more of the machine than a container has by default, and is not trusted
 * @throws invalid_argument - it is no checkpoint of a container, or lacks what is to be restored; already_exists - the container
 * @see containerd client/client.go, Restore
 */
export async function restoreContainer(
  client: Client,
  id: string,
  name: string,
  options: RestoreContainerOptions = {},
): Promise<RestoredContainer> {
  await using lease = await client.lease(options);
  try {
    return await restoreUnderLease(lease, id, name, options);
  } catch (error) {
    throw wrapError(error, `restore container ${id} from ${name}`);
  }
}

async function restoreUnderLease(
  lease: HeldLease,
  id: string,
  name: string,
  { files = false, trust = false, signal }: RestoreContainerOptions,
): Promise<RestoredContainer> {
  const { client } = lease;
  const { content } = client;
  const { target } = await holdImage(lease, name, { signal });
  const { parts, origin } = await readCheckpoint(content, target, { signal });
  const written = await readPart(content, requirePart(parts, CheckpointType.spec, NO_SPEC), { signal });
  const layer = files ? requirePart(parts, MediaType.ociLayerGzip, NO_FILES) : undefined;
  const stored = parts.find(({ mediaType }) => mediaType === CheckpointType.runtimeOptions);
  const runtimeOptions = stored && (await readPart(content, stored, { signal }));
  const { runtime } = origin;
  const spec = trust ? written : harmlessSpec({ runtime, spec: written, ...(runtimeOptions && { runtimeOptions }) });
  await using undo = new AsyncDisposableStack();
  const { image, made } = await imageOf(lease, parts, origin.image, { signal });
  if (made !== undefined) undo.defer(async () => await deleteName(client, made));
  const { snapshotter } = origin;
  const { mounts } = await prepareSnapshot(client, image.target, { id, snapshotter, signal }, undo);
  if (layer !== undefined) await client.diff.apply(layer, mounts, { signal });
  const container = await createRecord(
    client,
    {
      id,
      labels: noLabels,
      image: image.name,
      runtime: { name: runtime, ...(runtimeOptions && { options: runtimeOptions }) },
      spec: inOwnCgroup(spec, origin, `/${client.namespace}/${id}`, trust),
      snapshotter,
      snapshotKey: id,
      extensions: new Map(),
      sandboxId: "",
    },
    { signal },
  );
  undo.move();
  const memory = trust ? parts.find(({ mediaType }) => mediaType === CheckpointType.memory) : undefined;
  return { container, ...(memory && { memory }), ...(made && { madeImage: made }) };
}

/**
 * In the cgroup of the container that was written down, which may run still, one would end with the other. Only that which containers are given unasked is another one; without trust
 * there is no other. As text: JSON.parse does not keep every number of a spec.
 *
 * @throws invalid_argument - it is written as no encoder writes it
 */
function inOwnCgroup(spec: AnyValue, { container }: CheckpointOrigin, to: string, trust: boolean): AnyValue {
  const given = container === undefined ? undefined : `/${container}`;
  const from = trust ? given : decodeSpec(spec).linux?.cgroupsPath;
  if (from === undefined) return spec;
  const member = (path: string): string => `"cgroupsPath":${JSON.stringify(path)}`;
  const text = new TextDecoder().decode(spec.value).replace(member(from), () => member(to));
  const moved = { ...spec, value: new TextEncoder().encode(text) };
  if (!trust && decodeSpec(moved).linux?.cgroupsPath !== to) throw invalidArgument("its spec hides its cgroup");
  return moved;
}

const NO_SPEC = "it has no spec: containerd's own ctr puts one only into checkpoints with --task";
const NO_FILES = "it has no changed files";

/** The image that the changed files stand on: the checkpoint's own, whatever its name stands for by now. A name that is taken stays whose it is. */
async function imageOf(
  lease: HeldLease,
  parts: readonly Descriptor[],
  name: string,
  { signal }: CallOptions,
): Promise<{ readonly image: Pick<Image, "name" | "target">; readonly made?: Image }> {
  const target = parts.find(({ mediaType }) => isManifestType(mediaType) || isIndexType(mediaType));
  if (target === undefined) return { image: await holdImage(lease, name, { signal }) };
  try {
    const made = await createOrNot(
      (options) => lease.client.images.create({ name, target, labels: noLabels }, options),
      (image) => deleteName(lease.client, image),
      { signal },
    );
    return { image: made, made };
  } catch (error) {
    if (!isAlreadyExists(error)) throw error;
    return { image: { name, target } };
  }
}

/** Unless it stands for something else by now. */
async function deleteName(client: Client, { name, target }: Image): Promise<void> {
  await client.images.delete(name, { target }).catch(ignoreNotFound);
}
