import type { Logger } from "@berth/core/log";
import type { MetadataStore } from "@berth/core/metadata";
import type { ImageVerifier, RegistryAccess } from "@berth/core/transfer";
import type { Platform } from "@berth/oci";
import type { DifferProvider } from "@berth/plugin-core/types";
import type { RegistryClient, RegistryTimeouts } from "@berth/remotes";
import type { PartMemory } from "@berth/remotes/part-memory";
import type { RateLimit } from "@berth/remotes/rate-limit";

import { formatHttpStep } from "./http-log.ts";

/** What an unpacking needs to know of a snapshotter. */
export interface UnpackChoice {
  readonly platform: Platform;
  readonly snapshotter: string;
  readonly differ: string;
  /** Of the configurations of what is unpacked; absent or empty for that of images. */
  readonly configType?: string;
}

/** What transfers are made of. */
export interface LocalTransferOptions {
  readonly metadata: MetadataStore;
  readonly differs: ReadonlyMap<string, DifferProvider>;
  /** By their ids; all must accept. */
  readonly verifiers?: ReadonlyMap<string, ImageVerifier>;
  /** What is unpacked to, where the request leaves it open: the first that fits the platform. */
  readonly unpacks?: readonly UnpackChoice[];
  /** Refuse to unpack for what `unpacks` does not name. */
  readonly onlyKnownUnpacks?: boolean;
  /** Layers of one pull that are downloaded at once; 3. */
  readonly maxDownloads?: number;
  /** Blobs of one push that are uploaded at once; 3. */
  readonly maxUploads?: number;
  /** Layers of an image that are unpacked at once, by the name of the snapshotter. */
  readonly unpackConcurrency?: (snapshotter: string) => number;
  /** Whether a snapshotter may bring layers in by itself: it is told of the image, and layers that it has are not downloaded. */
  readonly isRemote?: (snapshotter: string) => boolean;
  /** Layers that are unpacked while they are being downloaded, in all pulls together; 1. */
  readonly followedDownloads?: number;
  /** Leave the layers of an image that is pulled and unpacked to the collector. */
  readonly discardLayers?: boolean;
  /** Shared by all downloads. */
  readonly downloadLimit?: RateLimit;
  /** Layers of more than so many bytes come in parts, several at once; absent: each in one piece. */
  readonly partBytes?: number;
  /** What is not said has the defaults of `RegistryClient`. */
  readonly registryTimeouts?: RegistryTimeouts;
  /** Directories with a directory for each registry. */
  readonly hostDirectories?: readonly string[];
  readonly log?: Logger;
}

/** This makes the client for one transfer, which disposes it. What it is made of is large and loaded by the first transfer. */
export async function openRegistry(
  access: RegistryAccess,
  { hostDirectories = [], downloadLimit, partBytes, maxDownloads, registryTimeouts, log }: LocalTransferOptions,
  partMemory?: PartMemory,
): Promise<RegistryClient> {
  const { credentials, hostDirectory, headers, plainHttp, onHttp } = access;
  const { RegistryClient: Client } = await import("@berth/remotes");
  return new Client({
    hostDirectories: hostDirectory === undefined ? hostDirectories : [hostDirectory],
    ...(credentials && { credentials }),
    ...(headers && { headers }),
    ...(plainHttp !== undefined && { plainHttp }),
    ...(downloadLimit && { downloadLimit }),
    ...(partBytes !== undefined && { partBytes }),
    ...(maxDownloads !== undefined && { maxRequests: maxDownloads }),
    ...(partMemory && { partMemory }),
    ...(registryTimeouts && { timeouts: registryTimeouts }),
    ...(onHttp && { onHttp: (step) => onHttp(formatHttpStep(step)) }),
    ...(log && { log }),
  });
}
