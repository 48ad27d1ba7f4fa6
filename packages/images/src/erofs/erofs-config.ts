import type { CallOptions } from "@berth/core/any";
import type { ContentStore } from "@berth/core/content";
import type { Descriptor, Digest, Platform } from "@berth/oci";
import { normalizePlatform } from "@berth/oci";

import { asDocument, readDocument, writeDocument } from "../image-document.ts";

const FEATURE = "erofs";

/** This returns the platform of an image whose layers are EROFS images: runtimes that cannot mount them pass it by. */
export function erofsPlatform(platform: Platform): Platform {
  return normalizePlatform({ ...platform, osFeatures: withFeature(platform.osFeatures ?? []) });
}

/**
 * This stores the configuration of an image anew whose layers have become EROFS images: they unpack to themselves.
 * @see containerd core/images/converter/erofs/erofs.go, UpdateManifestPlatform
 */
export async function erofsConfig(
  content: ContentStore,
  config: Descriptor,
  diffIds: readonly Digest[],
  { signal }: CallOptions,
): Promise<Descriptor> {
  const document = await readDocument(content, config, { signal });
  const { rootfs, "os.features": features } = document;
  const known = Array.isArray(features) ? features.filter((feature) => typeof feature === "string") : [];
  const next = {
    ...document,
    "os.features": withFeature(known),
    rootfs: { ...asDocument(rootfs ?? {}, "rootfs"), diff_ids: diffIds },
  };
  return { ...config, ...(await writeDocument(content, config.mediaType, next, { signal })) };
}

function withFeature(features: readonly string[]): readonly string[] {
  return features.includes(FEATURE) ? features : [...features, FEATURE].toSorted();
}
