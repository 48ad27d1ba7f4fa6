import type { Descriptor, Platform } from "@berth/oci";

/** This makes the wire form of a descriptor; platform, urls and data do not travel. */
export function toProtoDescriptor({ mediaType, digest, size, annotations }: Descriptor) {
  return { mediaType, digest, size: BigInt(size), annotations: { ...annotations } };
}

/** This makes the wire form of a platform. */
export function toProtoPlatform({ os, architecture, variant = "", osVersion = "", osFeatures = [] }: Platform) {
  return { os, architecture, variant, osVersion, osFeatures: [...osFeatures] };
}
