import type { Compression } from "@berth/archive";
import type { CallOptions } from "@berth/core/any";
import type { ContentStore } from "@berth/core/content";
import { invalidArgument } from "@berth/errors";
import type { Descriptor, Digest, Platform } from "@berth/oci";
import { MediaType } from "@berth/oci";

import { changeConfig } from "./config-changes.ts";
import { descriptorJson } from "./go-json.ts";
import type { ImageDocument } from "./image-document.ts";
import { asDocument, readDocument, writeDocument } from "./image-document.ts";
import { isDockerType, layerType } from "./layer-types.ts";
import type { ResolvedManifest } from "./resolve-manifest.ts";

/** Options of {@link commitImage}. */
export interface CommitImageOptions extends CallOptions {
  /** Where the layer is, and the image goes; the caller holds a lease for that. */
  readonly content: ContentStore;
  /** What the layer stands on; absent: on nothing. */
  readonly base?: ResolvedManifest | undefined;
  /** Of an image without a base. */
  readonly platform: Platform;
  /** The layer has all files: of the base, only what is said of it is taken. */
  readonly isWhole?: boolean;
  readonly layer: Descriptor;
  readonly compression: Compression;
  /** Digest of the layer's tar. */
  readonly diffId: Digest;
  /** When the image was made; milliseconds since 1970. */
  readonly createdAt: number;
  readonly author?: string;
  readonly message?: string;
  /** What made the layer, for people. */
  readonly createdBy?: string;
  /** Instructions as in a Dockerfile: `CMD ["sh"]`. */
  readonly changes?: readonly string[];
}

/**
 * This makes an image of a base image and one more layer, and returns its manifest. Media types are of the base's kind. The same arguments give the same bytes.
 *
 * @throws not_found - a blob of the base; invalid_argument - it is malformed, or a change is
 */
export async function commitImage(options: CommitImageOptions): Promise<Descriptor> {
  const { content, base, platform, compression, signal } = options;
  const manifest = base === undefined ? emptyManifest() : await readDocument(content, base.descriptor, { signal });
  const config =
    base === undefined ? emptyConfig(platform) : await readDocument(content, base.manifest.config, { signal });
  const isDocker = isDockerType(base?.descriptor.mediaType ?? "");
  const { digest, size } = options.layer;
  const below = options.isWhole === true ? [] : (base?.manifest.layers ?? []);
  const layers = [...below, { mediaType: layerType(compression, { isDocker }), digest, size }];
  const configType = base?.manifest.config.mediaType ?? MediaType.ociConfig;
  const newConfig = await writeDocument(content, configType, nextConfig(config, options), { signal });
  const document = { ...manifest, config: descriptorJson(newConfig), layers: layers.map(descriptorJson) };
  const type = base?.descriptor.mediaType ?? MediaType.ociManifest;
  return await writeDocument(content, type, document, { children: [newConfig, ...layers], signal });
}

function emptyManifest(): ImageDocument {
  return { schemaVersion: 2, mediaType: MediaType.ociManifest };
}

function emptyConfig({ os, architecture, variant }: Platform): ImageDocument {
  return { architecture, os, ...(variant !== undefined && { variant }), config: {}, rootfs: { type: "layers" } };
}

function nextConfig(config: ImageDocument, options: CommitImageOptions): ImageDocument {
  const { author, message, createdBy, changes = [], diffId, isWhole = false } = options;
  const created = new Date(options.createdAt).toISOString().replace(".000Z", "Z");
  const rootfs = asDocument(config["rootfs"] ?? {}, "rootfs");
  const diffIds = isWhole ? [] : listOf(rootfs["diff_ids"], "rootfs.diff_ids");
  const history = isWhole ? [] : listOf(config["history"], "history");
  const entry = {
    created,
    ...(createdBy !== undefined && { created_by: createdBy }),
    ...(author !== undefined && { author }),
    ...(message !== undefined && { comment: message }),
  };
  const defaults = changes.reduce(changeConfig, asDocument(config["config"] ?? {}, "config"));
  return {
    ...config,
    created,
    ...(author !== undefined && { author }),
    config: defaults,
    rootfs: { ...rootfs, diff_ids: [...diffIds, diffId] },
    history: [...history, entry],
  };
}

function listOf(value: unknown, place: string): readonly unknown[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw invalidArgument(`${place}: expected a list`);
  return value;
}
