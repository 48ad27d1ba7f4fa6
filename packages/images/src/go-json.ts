import type { Descriptor, Platform } from "@berth/oci";

const ESCAPED = /[<>&\u2028\u2029]/g;

/** This writes JSON byte for byte as Go's encoder does, which also escapes what is special in HTML. */
export function encodeGoJson(value: unknown): Uint8Array {
  const text = JSON.stringify(value).replace(
    ESCAPED,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  return new TextEncoder().encode(text);
}

/** This orders and names the fields of a descriptor as the image specification's Go type does. */
export function descriptorJson(descriptor: Descriptor): Record<string, unknown> {
  const { mediaType, digest, size, urls, annotations, data, platform, artifactType } = descriptor;
  return {
    mediaType,
    digest,
    size,
    ...(urls?.length ? { urls } : {}),
    ...(annotations === undefined ? {} : { annotations: sorted(annotations) }),
    ...(data === undefined ? {} : { data }),
    ...(platform === undefined ? {} : { platform: platformJson(platform) }),
    ...(artifactType === undefined ? {} : { artifactType }),
  };
}

function platformJson({ architecture, os, osVersion, osFeatures, variant }: Platform): Record<string, unknown> {
  return {
    architecture,
    os,
    ...(osVersion ? { "os.version": osVersion } : {}),
    ...(osFeatures?.length ? { "os.features": osFeatures } : {}),
    ...(variant ? { variant } : {}),
  };
}

/** Go writes the keys of a map in byte order. */
function sorted(map: Readonly<Record<string, string>>): Record<string, string> {
  const result: Record<string, string> = Object.create(null);
  for (const key of Object.keys(map).toSorted(compareBytes)) result[key] = map[key] ?? "";
  return result;
}

function compareBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
