import type { AnyValue, CallOptions } from "@berth/core/any";
import type { Container, ContainerSpec } from "@berth/core/containers";
import type { Labels } from "@berth/core/labels";
import { MAX_LABEL_BYTES, noLabels } from "@berth/core/labels";
import { activateMounts, type Mount } from "@berth/core/mount";
import type { Snapshotter } from "@berth/core/snapshots";
import { ignoreNotFound, isNotFound } from "@berth/errors";
import type { ResolvedImage } from "@berth/images";
import { resolveImage, unpack } from "@berth/images";
import type { Descriptor, PlatformMatcher } from "@berth/oci";
import { hostPlatform, only } from "@berth/oci";
import type { RuntimeSpec, SpecOption, UserFiles } from "@berth/oci/spec";
import {
  encodeSpec,
  generateSpec,
  withDefaultUnixDevices,
  withEnv,
  withImageConfig,
  withProcessArgs,
  withUserNamespace,
} from "@berth/oci/spec";

import type { Client } from "./client.ts";
import { createOrNot } from "./create-or-not.ts";
import type { IdMapping, SnapshotBase } from "./remap-snapshot.ts";

/** What the spec of a container may depend on. */
export interface SpecContext {
  /** Absent for a container that is not made from an image. */
  readonly image?: ResolvedImage;
  /** `/etc/passwd` and `/etc/group` of the root file system. */
  readonly userFiles: UserFiles;
}

/** Options of {@link createContainer}. */
export interface CreateContainerOptions extends CallOptions {
  readonly id: string;
  /** Name of an image; it is unpacked if it is not yet. Absent: the spec names a directory as its root. */
  readonly image?: string;
  /** `overlayfs` when absent. */
  readonly snapshotter?: string;
  readonly platform?: PlatformMatcher;
  /** `io.containerd.runc.v2` when absent. */
  readonly runtime?: { readonly name: string; readonly options?: AnyValue };
  /** The command, instead of the one that the image's configuration names; an entry point of the image stays before it. */
  readonly args?: readonly string[];
  /** `NAME=value`, beside those of the image; a bare `NAME` takes one away. */
  readonly env?: readonly string[];
  /** Changes of the default spec, after those that the image makes. */
  readonly spec?: (context: SpecContext) => readonly SpecOption[];
  /** This spec instead of a generated one. */
  readonly wholeSpec?: RuntimeSpec;
  /**
   * Reads the user files of a root file system that is not mounted. Without it they are read only where the image's configuration has the name of a user or group, by
   * `mount(8)`: see `readMountedUserFiles`.
   */
  readonly readUserFiles?: (mounts: readonly Mount[]) => Promise<UserFiles>;
  readonly labels?: Labels;
  readonly snapshotLabels?: Labels;
  /** A user namespace: the spec has it, and the files of the image have its owners. */
  readonly idMapping?: IdMapping;
  readonly extensions?: ReadonlyMap<string, AnyValue>;
  readonly sandboxId?: string;
  /** Reach the disk before the unpacking of an image ends. */
  readonly syncFs?: boolean;
}

const SNAPSHOTTER = "overlayfs";
const RUNTIME = { name: "io.containerd.runc.v2" };
const STOP_SIGNAL_LABEL = "io.containerd.image.config.stop-signal";

/**
 * This makes the record of a container and, from an image, its writable snapshot, whose key is the container's id. After a
 * failure neither is left.
 *
 * @throws already_exists - the container, or a snapshot of that key
 * @throws not_found - the image, or the user in its configuration
 */
export async function createContainer(client: Client, options: CreateContainerOptions): Promise<Container> {
  return await client.withLease(async (leased) => {
    await using undo = new AsyncDisposableStack();
    const rootfs = options.image === undefined ? undefined : await prepareRootfs(leased, options.image, options, undo);
    const container = await createRecord(leased, recordOf(leased, options, rootfs), options);
    undo.move();
    return container;
  }, options);
}

/** This makes the record of a container. One that is aborted has made none. @throws already_exists */
export function createRecord(
  { containers }: Client,
  record: ContainerSpec,
  { signal }: CallOptions,
): Promise<Container> {
  return createOrNot(
    (options) => containers.create(record, options),
    ({ id }, options) => containers.delete(id, options).catch(ignoreNotFound),
    { signal },
  );
}

interface Rootfs {
  readonly image: ResolvedImage;
  readonly imageLabels: Labels;
  readonly userFiles: UserFiles;
}

async function prepareRootfs(
  leased: Client,
  name: string,
  options: CreateContainerOptions,
  undo: AsyncDisposableStack,
): Promise<Rootfs> {
  const { target, labels } = await leased.images.get(name, options);
  const { image, mounts } = await prepareSnapshot(leased, target, options, undo);
  return { image, imageLabels: labels, userFiles: await userFilesOf(leased, mounts, image, options) };
}

/** This makes the writable snapshot of a container, which `undo` removes; the image is unpacked if it is not yet. */
export async function prepareSnapshot(
  leased: Client,
  target: Descriptor,
  options: Pick<
    CreateContainerOptions,
    "id" | "snapshotter" | "platform" | "snapshotLabels" | "idMapping" | "syncFs" | "signal"
  >,
  undo: AsyncDisposableStack,
): Promise<{ readonly image: ResolvedImage; readonly mounts: readonly Mount[] }> {
  const { id, signal, snapshotter: snapshotterName = SNAPSHOTTER } = options;
  const snapshotter = leased.snapshotter(snapshotterName);
  const platform = options.platform ?? only(hostPlatform());
  const image = await resolveImage(leased.content, target, platform, { signal });
  if (!(await isCommitted(snapshotter, image.chainId, { signal }))) {
    await unpack(target, {
      content: leased.content,
      snapshotter,
      snapshotterName,
      applier: leased.diff,
      platform,
      signal,
      ...(options.syncFs === undefined ? {} : { syncFs: options.syncFs }),
    });
  }
  const { idMapping, snapshotLabels = noLabels } = options;
  const prepare = ({ parent, labels }: SnapshotBase): Promise<readonly Mount[]> =>
    snapshotter.prepare(id, parent, { labels: new Map([...snapshotLabels, ...labels]), signal });
  const mounts =
    idMapping === undefined
      ? await prepare({ parent: image.chainId, labels: noLabels })
      : await prepareMapped(leased, snapshotterName, image.chainId, idMapping, prepare, { signal });
  undo.defer(() => snapshotter.remove(id));
  return { image, mounts };
}

/** Nothing holds a parent with mapped owners that was there already: it may be collected before the snapshot stands on it, and is made again then. */
async function prepareMapped(
  leased: Client,
  snapshotterName: string,
  chainId: string,
  mapping: IdMapping,
  prepare: (base: SnapshotBase) => Promise<readonly Mount[]>,
  { signal }: CallOptions,
): Promise<readonly Mount[]> {
  const { mappedParent } = await import("./remap-snapshot.ts");
  const base = (): Promise<SnapshotBase> => mappedParent(leased, snapshotterName, chainId, mapping, { signal });
  const first = await base();
  try {
    return await prepare(first);
  } catch (error) {
    if (!isNotFound(error)) throw error;
    return await prepare(await base());
  }
}

/** Some snapshotters describe mounts that only the daemon can make. */
async function userFilesOf(
  leased: Client,
  mounts: readonly Mount[],
  { config }: ResolvedImage,
  options: CreateContainerOptions,
): Promise<UserFiles> {
  const { id, signal } = options;
  const isNumber = /^\d*(:\d*)?$/.test(config.config.User ?? "");
  if (options.readUserFiles === undefined && isNumber) return {};
  const readUserFiles = options.readUserFiles ?? (await import("./mounted-user-files.ts")).readMountedUserFiles;
  await using activated = await activateMounts(leased.mounts, `user-files-${id}`, mounts, { signal });
  return await readUserFiles(activated.mounts);
}

async function isCommitted(snapshotter: Snapshotter, chainId: string, options: CallOptions): Promise<boolean> {
  if (chainId === "") return true;
  try {
    return (await snapshotter.stat(chainId, options)).kind === "committed";
  } catch (error) {
    if (isNotFound(error)) return false;
    throw error;
  }
}

function recordOf(client: Client, options: CreateContainerOptions, rootfs: Rootfs | undefined) {
  const { id, labels = noLabels } = options;
  return {
    id,
    labels: rootfs === undefined ? labels : new Map([...imageLabels(rootfs), ...labels]),
    image: options.image ?? "",
    runtime: options.runtime ?? RUNTIME,
    spec: encodeSpec(options.wholeSpec ?? specOf(client, options, rootfs)),
    snapshotter: rootfs === undefined ? "" : (options.snapshotter ?? SNAPSHOTTER),
    snapshotKey: rootfs === undefined ? "" : id,
    extensions: options.extensions ?? new Map<string, AnyValue>(),
    sandboxId: options.sandboxId ?? "",
  };
}

function specOf(client: Client, options: CreateContainerOptions, rootfs: Rootfs | undefined): RuntimeSpec {
  const userFiles = rootfs?.userFiles ?? {};
  const context = rootfs === undefined ? { userFiles } : { userFiles, image: rootfs.image };
  const { args = [], env = [], idMapping } = options;
  const mapped = idMapping === undefined ? [] : [withUserNamespace(idMapping.uids, idMapping.gids)];
  const command = args.length === 0 ? [] : [withProcessArgs(...args)];
  const fromImage =
    rootfs === undefined ? command : [withImageConfig(rootfs.image.config.config, { ...userFiles, args })];
  return generateSpec({
    namespace: client.namespace,
    id: options.id,
    options: [withDefaultUnixDevices, ...fromImage, ...mapped, withEnv(env), ...(options.spec?.(context) ?? [])],
  });
}

/** Labels of the image's configuration, then of the image's record; reserved and oversized ones are left out. */
function imageLabels({ image, imageLabels: recorded }: Rootfs): ReadonlyMap<string, string> {
  const { Labels: configured = {}, StopSignal = "" } = image.config.config;
  const fits = ([key, value]: readonly [string, string]): boolean =>
    Buffer.byteLength(key) + Buffer.byteLength(value) <= MAX_LABEL_BYTES && !isReserved(key);
  return new Map([
    ...[...Object.entries(configured), ...recorded].filter(fits),
    [STOP_SIGNAL_LABEL, StopSignal === "" ? "SIGTERM" : StopSignal],
  ]);
}

/** An image must not steer the daemon (restart policies, garbage collection) through labels that it brings along. */
function isReserved(key: string): boolean {
  return key.startsWith("containerd.io/") || key.startsWith("io.cri-containerd");
}

/** This removes a container's record and its snapshot. Its task must be gone. @throws not_found */
export async function removeContainer(
  client: Client,
  id: string,
  options: CallOptions & { readonly keepSnapshot?: boolean } = {},
): Promise<void> {
  const { snapshotter, snapshotKey } = await client.containers.get(id, options);
  if (snapshotKey !== "" && options.keepSnapshot !== true) {
    await client.snapshotter(snapshotter).remove(snapshotKey, options).catch(ignoreNotFound);
  }
  await client.containers.delete(id, options);
}
