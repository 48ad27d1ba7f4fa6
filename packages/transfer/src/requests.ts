import type { ImageStore } from "@berth/api/containerd/types/transfer/imagestore";
import type { ImageExportStream } from "@berth/api/containerd/types/transfer/importexport";
import type { RegistryResolver } from "@berth/api/containerd/types/transfer/registry";
import type { Platform as ProtoPlatform } from "@berth/api/containerd/types/platform";
import { fromProtoLabels } from "@berth/core/labels";
import type { Namespace } from "@berth/core/namespaces";
import type { StreamManager } from "@berth/core/streaming";
import type { ArchiveChoice, RegistryAccess, StoredImages } from "@berth/core/transfer";
import { unimplemented } from "@berth/errors";
import type { Platform } from "@berth/oci";
import { normalizePlatform } from "@berth/oci";

import { streamCredentials } from "./auth-stream.ts";

/** This reads images as a request names them. */
export function fromProtoImages(images: ImageStore): StoredImages {
  const { name, allMetadata, manifestLimit } = images;
  return {
    name,
    labels: fromProtoLabels(images.labels),
    platforms: images.platforms.map(fromProtoPlatform),
    allMetadata,
    manifestLimit,
    extraNames: images.extraReferences.map((each) => ({
      name: each.name,
      isPrefix: each.isPrefix,
      allowOverwrite: each.allowOverwrite,
      addDigest: each.addDigest,
      skipNamedDigest: each.skipNamedDigest,
    })),
    unpacks: images.unpacks.map(({ platform, snapshotter }) => ({
      snapshotter,
      ...(platform && { platform: fromProtoPlatform(platform) }),
    })),
  };
}

/** This reads what a request wants in an archive. */
export function fromProtoChoice(stream: ImageExportStream): ArchiveChoice {
  return {
    platforms: stream.platforms.map(fromProtoPlatform),
    allPlatforms: stream.allPlatforms,
    skipDockerManifest: stream.skipCompatibilityManifest,
    skipNonDistributable: stream.skipNonDistributable,
  };
}

/** This reads how a request wants a registry to be reached. @throws not_found - its auth stream is not there; unimplemented */
export function fromProtoResolver(
  resolver: RegistryResolver | undefined,
  reference: string,
  { streams, namespace }: { readonly streams: StreamManager; readonly namespace: Namespace },
): RegistryAccess {
  if (resolver === undefined) return {};
  const { authStream, headers, hostDir, defaultScheme } = resolver;
  if (defaultScheme !== "" && defaultScheme !== "http" && defaultScheme !== "https")
    throw unimplemented(`registries by ${JSON.stringify(defaultScheme)}`);
  return {
    ...(authStream !== "" && { credentials: streamCredentials(streams.get(namespace, authStream), reference) }),
    ...(hostDir !== "" && { hostDirectory: hostDir }),
    ...(Object.keys(headers).length > 0 && {
      headers: new Map(Object.entries(headers).map(([key, value]) => [key, [value]])),
    }),
    ...(defaultScheme === "http" && { plainHttp: true }),
  };
}

function fromProtoPlatform({ os, architecture, variant, osVersion, osFeatures }: ProtoPlatform): Platform {
  return normalizePlatform({
    os,
    architecture,
    ...(variant !== "" && { variant }),
    ...(osVersion !== "" && { osVersion }),
    ...(osFeatures.length > 0 && { osFeatures: [...osFeatures] }),
  });
}
