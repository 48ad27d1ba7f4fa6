import { ImageStoreSchema } from "@berth/api/containerd/types/transfer/imagestore";
import { ImageExportStreamSchema, ImageImportStreamSchema } from "@berth/api/containerd/types/transfer/importexport";
import { TarReader } from "@berth/archive";
import type { CallOptions } from "@berth/core/any";
import type { Labels } from "@berth/core/labels";
import { noLabels, toProtoLabels } from "@berth/core/labels";
import { packMessage } from "@berth/core/messages";
import { toProtoPlatform } from "@berth/core/proto-descriptor";
import type { Platform } from "@berth/oci";

import { receiveBytes, sendBytes } from "./byte-streams.ts";
import type { Client } from "./client.ts";
import { openStream } from "./open-stream.ts";
import type { RegistryEndOptions } from "./registry-end.ts";
import { openRegistryEnd } from "./registry-end.ts";
import type { WatchOptions } from "./transfer-call.ts";
import { callTransfer } from "./transfer-call.ts";

export type { RegistryEndOptions } from "./registry-end.ts";
export type { TransferStep, WatchOptions } from "./transfer-call.ts";

/** This says whether the daemon moves images itself. */
export async function hasTransferService(client: Client, options: CallOptions): Promise<boolean> {
  const plugins = await client.plugins({ ...options, filters: ["type==io.containerd.grpc.v1,id==transfer"] });
  return plugins.some(({ status }) => status === "loaded");
}

/** What becomes of an image in the daemon. */
interface StoreOptions {
  /** All when empty. */
  readonly platforms: readonly Platform[];
  /** Of the image. */
  readonly labels?: Labels;
  /** Unpack, with the snapshotter named. */
  readonly unpacks?: readonly { readonly platform: Platform; readonly snapshotter: string }[];
}

/** Options of {@link pullInDaemon}. */
export interface PullInDaemonOptions extends StoreOptions, RegistryEndOptions, WatchOptions {}

/**
 * This has the daemon pull an image: its content does not pass through this process. The daemon leases what it makes.
 *
 * @throws as the registry, the content store, the snapshotter and `credentials`; permission_denied - an image verifier is against it
 */
export async function pullInDaemon(client: Client, name: string, options: PullInDaemonOptions): Promise<void> {
  using registry = await openRegistryEnd(client, name, options);
  const destination = packMessage(ImageStoreSchema, { name, ...storeOf(options) });
  await callTransfer(client, { source: registry.value, destination }, options, registry.failed);
}

/** Options of {@link pushFromDaemon}. */
export interface PushFromDaemonOptions extends RegistryEndOptions, WatchOptions {
  /** Name of the image in the daemon; the same as in the registry when absent. */
  readonly image?: string;
  /** Of an index, only what is for these; all of it when absent. */
  readonly platforms?: readonly Platform[];
}

/** This has the daemon push an image to a registry, as `name`. @throws not_found - no such image, or a blob of it; as the registry and `credentials` */
export async function pushFromDaemon(client: Client, name: string, options: PushFromDaemonOptions = {}): Promise<void> {
  using registry = await openRegistryEnd(client, name, options);
  const source = packMessage(ImageStoreSchema, {
    name: options.image ?? name,
    platforms: (options.platforms ?? []).map(toProtoPlatform),
  });
  await callTransfer(client, { source, destination: registry.value }, options, registry.failed);
}

/**
 * This has the daemon give an image another name. One that is taken stands for this image from now on.
 *
 * @throws not_found - no such image
 */
export async function tagInDaemon(
  client: Client,
  image: string,
  name: string,
  options: WatchOptions & { readonly labels?: Labels } = {},
): Promise<void> {
  const source = packMessage(ImageStoreSchema, { name: image });
  const destination = packMessage(ImageStoreSchema, { name, labels: toProtoLabels(options.labels ?? noLabels) });
  await callTransfer(client, { source, destination }, options);
}

/** Options of {@link importInDaemon}. */
export interface ImportInDaemonOptions extends StoreOptions, WatchOptions {
  /** Put before names that are bare tags. */
  readonly baseName: string;
  /** Leave out images whose full names do not begin with the base name. */
  readonly onlyBaseName?: boolean;
  /** Name each image by its digest too: all, or those without a name. */
  readonly digestNames?: "all" | "unnamed";
  /** Name of the archive's index itself. */
  readonly indexName?: string;
  /** Have layers compressed that are not. */
  readonly compressLayers?: boolean;
}

/**
 * This sends an archive to the daemon, which imports and unpacks it. The images that come of it are told by steps named `saved`.
 *
 * @throws invalid_argument - not an archive of images; not_found - nothing in it gets a name; as the daemon's stores; what `archive` throws
 */
export async function importInDaemon(
  client: Client,
  archive: AsyncIterable<Uint8Array>,
  options: ImportInDaemonOptions,
): Promise<void> {
  const { baseName, onlyBaseName = false, digestNames, indexName = "", compressLayers = false } = options;
  const naming = { name: baseName, isPrefix: true, allowOverwrite: !onlyBaseName };
  using stream = await openStream(client.transport, options);
  const failed = new AbortController();
  // Not waited for: the daemon may have enough before it has all, or refuse, while the archive's next bytes are still awaited.
  void sendBytes(stream, noticed(archive, failed)).catch(() => {});
  const source = packMessage(ImageImportStreamSchema, { stream: stream.id, forceCompress: compressLayers });
  const destination = packMessage(ImageStoreSchema, {
    name: indexName,
    ...storeOf(options),
    extraReferences: [
      ...(digestNames === undefined
        ? []
        : [{ ...naming, addDigest: true, skipNamedDigest: digestNames === "unnamed" }]),
      naming,
    ],
  });
  await callTransfer(client, { source, destination }, options, failed.signal);
}

/** The same bytes; should they fail to come, `failed` is told why. */
async function* noticed(
  archive: AsyncIterable<Uint8Array>,
  failed: AbortController,
): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* archive;
  } catch (error) {
    failed.abort(error);
    throw error;
  }
}

/** Options of {@link exportFromDaemon}. */
export interface ExportFromDaemonOptions extends WatchOptions {
  /** Those of the daemon's machine when empty. */
  readonly platforms?: readonly Platform[];
  readonly allPlatforms?: boolean;
  readonly skipDockerManifest?: boolean;
  readonly skipNonDistributable?: boolean;
}

/**
 * This yields a tar that the daemon makes of its images, in the OCI layout. Leaving the loop ends it there too.
 *
 * @throws not_found - no such image, or a blob of it
 */
export async function* exportFromDaemon(
  client: Client,
  names: readonly string[],
  options: ExportFromDaemonOptions = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  const { platforms = [], allPlatforms = false, skipDockerManifest = false, skipNonDistributable = false } = options;
  using stream = await openStream(client.transport, options);
  const source = packMessage(ImageStoreSchema, { extraReferences: [...new Set(names)].map((name) => ({ name })) });
  const destination = packMessage(ImageExportStreamSchema, {
    stream: stream.id,
    platforms: platforms.map(toProtoPlatform),
    allPlatforms,
    skipCompatibilityManifest: skipDockerManifest,
    skipNonDistributable,
  });
  const left = new AbortController();
  const signal = options.signal === undefined ? left.signal : AbortSignal.any([options.signal, left.signal]);
  const call = callTransfer(client, { source, destination }, { ...options, signal });
  let failure: { readonly error: unknown } | undefined;
  const settled = call.then(
    () => {},
    (error: unknown) => {
      // Not of its own, once it was ended here.
      if (!left.signal.aborted) failure = { error };
      // A refused call ends the stream, whoever would have written to it.
      stream[Symbol.dispose]();
    },
  );
  let isWhole = false;
  try {
    // Without this end one would wait for ever: containerd (2.1) leaves the stream open behind the last byte.
    const archive = new TarReader({ entry() {}, data() {}, endEntry() {} });
    for await (const chunk of receiveBytes(stream)) {
      archive.write(chunk);
      yield chunk;
      if (archive.ended) break;
    }
    isWhole = true;
  } catch (error) {
    // Whichever came first. The call is not waited for as it is: nobody asks the daemon for bytes any more.
    throw failure === undefined ? error : failure.error;
  } finally {
    if (!isWhole) left.abort();
    await settled;
  }
  await call;
}

function storeOf({ platforms, labels = noLabels, unpacks = [] }: StoreOptions) {
  return {
    labels: toProtoLabels(labels),
    platforms: platforms.map(toProtoPlatform),
    unpacks: unpacks.map(({ platform, snapshotter }) => ({ platform: toProtoPlatform(platform), snapshotter })),
  };
}
