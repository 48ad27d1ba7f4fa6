import type { CallOptions } from "@berth/core/any";
import type { ContentProvider } from "@berth/core/content";
import type { Descriptor, ImageManifest, PlatformMatcher } from "@berth/oci";
import { isConfigType } from "@berth/oci";

import { resolveManifest } from "./resolve-manifest.ts";

/** Registries of old gave configurations no type of their own. */
const LEGACY_CONFIG = "application/octet-stream";

/**
 * This says whether a manifest is that of an image which can be unpacked. Charts, signatures and other artifacts have manifests too; what their
 * layers are, only the type of their configuration tells.
 */
export function isUnpackable({ config: { mediaType } }: Pick<ImageManifest, "config">): boolean {
  return isConfigType(mediaType) || mediaType === LEGACY_CONFIG;
}

/** This says the same of an image for a platform. @throws as `resolveManifest` */
export async function hasFileSystem(
  content: ContentProvider,
  target: Descriptor,
  platform: PlatformMatcher,
  options?: CallOptions,
): Promise<boolean> {
  return isUnpackable((await resolveManifest(content, target, platform, options)).manifest);
}
