import type { CallOptions } from "@berth/core/any";
import type { ContentProvider } from "@berth/core/content";
import { isNotFound } from "@berth/errors";
import type { Descriptor, Digest, ImageManifest, PlatformMatcher } from "@berth/oci";
import { hostPlatform, isConfigType, isIndexType, only } from "@berth/oci";

import { encodeGoJson } from "./go-json.ts";
import { normalizeDockerReference } from "./image-names.ts";
import { resolveManifest, type ResolvedManifest } from "./resolve-manifest.ts";

interface DockerExportOptions extends CallOptions {
  readonly content: ContentProvider;
  readonly platform?: PlatformMatcher;
}

/**
 * This makes the file by which Docker reads an archive in the OCI layout: of each image the one manifest that Docker would take.
 *
 * @throws not_found - an index has nothing for the platform that was asked for
 * @see containerd core/images/archive/exporter.go, manifestsRecord
 */
export async function dockerManifest(
  images: readonly { readonly target: Descriptor; readonly name?: string }[],
  options: DockerExportOptions,
): Promise<Uint8Array> {
  const found = new Map<Digest, { readonly manifest: ImageManifest; readonly names: string[] }>();
  for (const { target, name } of images) {
    const resolved = await resolveOne(target, options);
    if (resolved === undefined || !isConfigType(resolved.manifest.config.mediaType)) continue;
    const { descriptor, manifest } = resolved;
    const entry = found.get(descriptor.digest) ?? { manifest, names: [] };
    found.set(descriptor.digest, entry);
    const tag = name === undefined ? undefined : familiarName(name);
    if (tag !== undefined) entry.names.push(tag);
  }
  const entries = [...found.values()].map(({ manifest, names }) => ({
    Config: blobPath(manifest.config),
    RepoTags: names.length === 0 ? null : names,
    Layers: manifest.layers.map(blobPath),
  }));
  return encodeGoJson(entries);
}

/** `undefined` where no platform was asked for and an index has nothing for this machine. */
async function resolveOne(
  target: Descriptor,
  { content, platform, signal }: DockerExportOptions,
): Promise<ResolvedManifest | undefined> {
  try {
    return await resolveManifest(content, target, platform ?? only(hostPlatform()), { signal });
  } catch (error) {
    if (platform === undefined && isIndexType(target.mediaType) && isNotFound(error)) return undefined;
    throw error;
  }
}

function blobPath({ digest }: Descriptor): string {
  return `blobs/${digest.replace(":", "/")}`;
}

/** As Docker shows it, without what is understood; `undefined` where Docker could not load it under that name. */
function familiarName(name: string): string | undefined {
  try {
    return normalizeDockerReference(name).replace(/^docker\.io\/(?:library\/)?/, "");
  } catch {
    return undefined;
  }
}
