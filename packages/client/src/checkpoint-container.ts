import { CheckpointOptionsSchema } from "@berth/api/containerd/runc/v1/options";
import type { CallOptions } from "@berth/core/any";
import type { Container } from "@berth/core/containers";
import type { Image, ImageStore } from "@berth/core/images";
import { packMessage } from "@berth/core/messages";
import { alreadyExists, failedPrecondition, ignoreNotFound, isAlreadyExists, wrapError } from "@berth/errors";
import type { Descriptor } from "@berth/oci";
import { MediaType } from "@berth/oci";

import { CheckpointType, onThisPlatform, originAnnotations, writeCheckpoint, writePart } from "./checkpoint-index.ts";
import type { Client, HeldLease } from "./client.ts";
import { createDiff } from "./create-diff.ts";
import { freezeTask } from "./freeze-task.ts";
import { holdImage } from "./hold-image.ts";

/** Options of {@link checkpointContainer}. */
export interface CheckpointContainerOptions extends CallOptions {
  /** The image that the container was made from. */
  readonly image?: boolean;
  /** What the container has changed in its files, as a layer. */
  readonly files?: boolean;
  /** The processes and their memory, by CRIU. */
  readonly task?: boolean;
}

/**
 * This makes an image that a container can be made of again: its spec and runtime, and what the options add. A running task stands still meanwhile and runs on
 * afterwards, whatever the outcome. `restoreContainer` is the inverse; containerd's client reads the image too.
 *
 * @throws not_found - no such container, or its image is gone, or with `task` it has none; already_exists - an image of that name
 * @throws failed_precondition - the container is not made from an image; there is no CRIU on the daemon's machine
 * @see containerd client/container.go, Checkpoint
 */
export async function checkpointContainer(
  client: Client,
  id: string,
  name: string,
  options: CheckpointContainerOptions = {},
): Promise<Image> {
  const { signal } = options;
  await using lease = await client.lease({ signal });
  const leased = lease.client;
  const container = await leased.containers.get(id, { signal });
  // Before anything stands still for it; `create` decides in the end.
  const taken = await leased.images.get(name, { signal }).catch(ignoreNotFound);
  if (taken !== undefined) throw alreadyExists(`image ${JSON.stringify(name)} exists`);
  const { image, runtime, snapshotter } = container;
  if (image === "" || snapshotter === "") throw failedPrecondition(`container ${id} is not made from an image`);
  const parts = await partsOf(lease, container, options).catch((error: unknown) => {
    throw wrapError(error, `checkpoint container ${id}`);
  });
  const annotations = originAnnotations({
    container: `${client.namespace}/${id}`,
    image,
    runtime: runtime.name,
    snapshotter,
  });
  const target = await writeCheckpoint(leased.content, parts, annotations, { signal });
  return await leased.images.create({ name, target, labels: new Map() }, { signal });
}

/** In containerd's order; the spec is its own part only where it does not come with the task. */
async function partsOf(
  lease: HeldLease,
  container: Container,
  { image = false, files = false, task = false, signal }: CheckpointContainerOptions,
): Promise<readonly Descriptor[]> {
  const { client } = lease;
  const { content } = client;
  const { options } = container.runtime;
  const parts: Descriptor[] = [];
  await using frozen = new AsyncDisposableStack();
  await freezeTask(client.tasks.task(container.id), frozen, { signal });
  if (options !== undefined) parts.push(await writePart(content, CheckpointType.runtimeOptions, options, { signal }));
  if (image) parts.push((await holdImage(lease, container.image, { signal })).target);
  if (files) parts.push(await changedFiles(client, container, { signal }));
  if (task) {
    const settings = packMessage(CheckpointOptionsSchema, { fileLocks: true });
    const made = await client.tasks.task(container.id).checkpoint({ checkpointOptions: settings, signal });
    parts.push(...made.map(onThisPlatform), await writePart(content, CheckpointType.options, settings, { signal }));
  } else if (container.spec !== undefined) {
    parts.push(await writePart(content, CheckpointType.spec, container.spec, { signal }));
  }
  return parts;
}

/** Options of {@link checkpointTask}. */
export interface CheckpointTaskOptions extends CallOptions {
  /** End the processes once they are written down. */
  readonly exit?: boolean;
  /** Directory of the daemon's machine for CRIU's images: no image of the daemon's is made then. */
  readonly imagePath?: string;
  /** Directory of the daemon's machine for CRIU's logs. */
  readonly workPath?: string;
}

/**
 * This has CRIU write down a task's processes, and makes an image of that, the container's image and its changed files; its name tells id and time. `undefined` when a directory
 * is named: all is there then. The task stands still meanwhile. What else the image takes is there before the processes are written down, and ended.
 *
 * @throws not_found - no such task, or its container's image is gone; failed_precondition - no CRIU on the daemon's machine
 * @see containerd client/task.go, Checkpoint
 */
export async function checkpointTask(
  client: Client,
  id: string,
  options: CheckpointTaskOptions = {},
): Promise<Image | undefined> {
  const { exit = false, imagePath = "", workPath = "", signal } = options;
  await using lease = await client.lease({ signal });
  const leased = lease.client;
  const container = await leased.containers.get(id, { signal });
  await using frozen = new AsyncDisposableStack();
  await freezeTask(leased.tasks.task(id), frozen, { signal });
  // All that can fail, before the processes may be gone: they stand still, so that their files are the same.
  const rootfs = imagePath === "" ? await rootfsOf(lease, container, { signal }) : [];
  const settings = packMessage(CheckpointOptionsSchema, { exit, imagePath, workPath });
  const made = await leased.tasks
    .task(id)
    .checkpoint({ checkpointOptions: settings, signal })
    .catch((error: unknown) => {
      throw wrapError(error, `checkpoint task ${id}`);
    });
  if (imagePath !== "") return undefined;
  const annotations = container.image === "" ? {} : { "image.name": container.image };
  // Given up now, what has ended would be lost.
  const end = exit ? {} : { signal };
  const target = await writeCheckpoint(leased.content, [...made.map(onThisPlatform), ...rootfs], annotations, end);
  return await nameTask(leased.images, id, target, end);
}

/** The image of a container and its changed files, as far as it has them. */
async function rootfsOf(lease: HeldLease, container: Container, options: CallOptions): Promise<readonly Descriptor[]> {
  const { image, snapshotKey } = container;
  return [
    ...(image === "" ? [] : [(await holdImage(lease, image, options)).target]),
    ...(snapshotKey === "" ? [] : [await changedFiles(lease.client, container, options)]),
  ];
}

/** Of two within a second the later one is named for the next. */
async function nameTask(images: ImageStore, id: string, target: Descriptor, options: CallOptions): Promise<Image> {
  const labels = new Map([["containerd.io/checkpoint", "true"]]);
  for (let time = Date.now(); ; time += 1000) {
    const name = `containerd.io/checkpoint/${id}:${timeOf(new Date(time))}`;
    try {
      return await images.create({ name, target, labels }, options);
    } catch (error) {
      if (!isAlreadyExists(error)) throw error;
    }
  }
}

async function changedFiles(
  client: Client,
  { snapshotter, snapshotKey }: Container,
  { signal }: CallOptions,
): Promise<Descriptor> {
  const ref = `checkpoint-rw-${snapshotKey}`;
  const mediaType = MediaType.ociLayerGzip;
  return onThisPlatform(await createDiff(client, snapshotKey, { snapshotter, mediaType, ref, signal }));
}

/** As in the names that containerd gives: `01-31-2026-23:59:59`. */
function timeOf(time: Date): string {
  const two = (value: number): string => String(value).padStart(2, "0");
  const day = [two(time.getMonth() + 1), two(time.getDate()), time.getFullYear()].join("-");
  return `${day}-${[time.getHours(), time.getMinutes(), time.getSeconds()].map(two).join(":")}`;
}
