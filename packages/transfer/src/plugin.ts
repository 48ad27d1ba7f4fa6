import { availableParallelism } from "node:os";

import { parseGoDuration } from "@berth/core/go-duration";
import type { Plugin } from "@berth/plugin-core";
import { all, definePlugin, goDuration, one, serviceRegistration } from "@berth/plugin-core";
import {
  DiffPlugin,
  GrpcPlugin,
  ImageVerifierPlugin,
  MetadataPlugin,
  SnapshotPlugin,
  StreamingPlugin,
  TransferPlugin,
} from "@berth/plugin-core/types";
import type { RegistryTimeouts } from "@berth/remotes";
import { createRateLimit } from "@berth/remotes/rate-limit";
import { z } from "zod";

import { directoryVerifier } from "./directory-verifier.ts";
import { LocalTransfer } from "./local-transfer.ts";
import { createTransferService, Transfer } from "./service.ts";
import { unpackChoices, unpackConfig } from "./unpack-choices.ts";

const count = z.number().int().nonnegative();

const transferConfig = z.object({
  max_concurrent_downloads: count.default(3),
  /** Of a part of a layer, at most; less than 512: layers come in one piece each. */
  concurrent_layer_fetch_buffer: count.default(0),
  max_concurrent_uploaded_layers: count.default(3),
  /** Of all pulls together; 0: as fast as it goes. */
  max_download_bytes_per_second: count.default(0),
  /** Of what is pulled and unpacked, keep no layers: it can then be run, and not be pushed or exported. */
  discard_unpacked_layers: z.boolean().default(false),
  check_platform_supported: z.boolean().default(false),
  config_path: z.string().default(""),
  /** 0: one for each processor and two more, as some wait for bytes. Snapshotters that cannot rebase do one at a time. */
  max_concurrent_unpacks: count.default(0),
  unpack_config: unpackConfig,
});

const MIN_PART_BYTES = 512;
/** Names in the daemon's `timeouts`. */
const TIMEOUTS = {
  connectMs: "io.berth.timeout.registry.connect",
  answerMs: "io.berth.timeout.registry.answer",
  progressMs: "io.berth.timeout.registry.progress",
  tokenMs: "io.berth.timeout.registry.token",
};

/** What a proxy snapshotter that brings layers in by itself exports, with the value `true`. */
const REMOTE_EXPORT = "enable_remote_snapshot_annotations";

/** `io.containerd.transfer.v1.local`: moves images inside the daemon. */
export const transferPlugin: Plugin = definePlugin({
  type: TransferPlugin,
  id: "local",
  requires: { metadata: one(MetadataPlugin), differs: all(DiffPlugin), verifiers: all(ImageVerifierPlugin) },
  config: transferConfig,
  init: ({ plugins, config, host: { records, timeouts }, log }) => {
    const processors = availableParallelism();
    const rebasing = new Set(
      records
        .filter(({ type, capabilities }) => type === SnapshotPlugin.name && capabilities.includes("rebase"))
        .map(({ id }) => id),
    );
    const remote = new Set(
      records
        .filter(({ type, exports }) => type === SnapshotPlugin.name && exports.get(REMOTE_EXPORT) === "true")
        .map(({ id }) => id),
    );
    const snapshotters = new Set(
      records.filter(({ type, status }) => type === SnapshotPlugin.name && status === "loaded").map(({ id }) => id),
    );
    const unpacks = config.max_concurrent_unpacks === 0 ? processors + 2 : config.max_concurrent_unpacks;
    return new LocalTransfer({
      ...plugins,
      unpacks: unpackChoices(config.unpack_config, { snapshotters, differs: plugins.differs, log }),
      discardLayers: config.discard_unpacked_layers,
      onlyKnownUnpacks: config.check_platform_supported,
      maxDownloads: Math.max(1, config.max_concurrent_downloads),
      maxUploads: Math.max(1, config.max_concurrent_uploaded_layers),
      unpackConcurrency: (snapshotter) => (rebasing.has(snapshotter) ? unpacks : 1),
      isRemote: (snapshotter) => remote.has(snapshotter),
      // One stays free for layers that are there, however long the registry sends nothing.
      followedDownloads: Math.max(1, Math.min(unpacks - 1, processors + 1)),
      ...(config.max_download_bytes_per_second > 0 && {
        downloadLimit: createRateLimit(config.max_download_bytes_per_second),
      }),
      ...(config.concurrent_layer_fetch_buffer >= MIN_PART_BYTES && {
        partBytes: config.concurrent_layer_fetch_buffer,
      }),
      registryTimeouts: registryTimeouts(timeouts),
      hostDirectories: config.config_path === "" ? [] : config.config_path.split(":"),
      log,
    });
  },
});

/** Those that are configured; 0 stands for the default. */
function registryTimeouts(configured: ReadonlyMap<string, number>): RegistryTimeouts {
  return Object.fromEntries(
    Object.entries(TIMEOUTS).flatMap(([key, name]) => {
      const ms = configured.get(name) ?? 0;
      return ms > 0 ? [[key, ms]] : [];
    }),
  );
}

/** `io.containerd.image-verifier.v1.bindir`: programs in a directory decide what may be pulled. */
export const imageVerifierPlugin: Plugin = definePlugin({
  type: ImageVerifierPlugin,
  id: "bindir",
  config: z.object({
    bin_dir: z.string().default("/opt/containerd/image-verifier/bin"),
    max_verifiers: z.number().int().default(10),
    per_verifier_timeout: goDuration.default("10s"),
  }),
  init: ({ config, log }) =>
    directoryVerifier({
      directory: config.bin_dir,
      maxVerifiers: config.max_verifiers,
      timeoutMs: parseGoDuration(config.per_verifier_timeout),
      log,
    }),
});

/** `io.containerd.grpc.v1.transfer`. */
export const transferServicePlugin: Plugin = definePlugin({
  type: GrpcPlugin,
  id: "transfer",
  requires: { transfers: one(TransferPlugin), streams: one(StreamingPlugin) },
  init: ({ plugins, log }) => [serviceRegistration(Transfer, createTransferService({ ...plugins, log }))],
});
