import { invalidArgument } from "@berth/errors";

import type { Digest } from "./digest.ts";
import { parseDigest } from "./digest.ts";
import type { Platform } from "./platform.ts";

/**
 * A pointer to content: what it is, its hash and its size in bytes.
 *
 * @see OCI image-spec 1.1, descriptor.md
 */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly size: number;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly platform?: Platform;
  readonly artifactType?: string;
  readonly urls?: readonly string[];
  /** The content itself, base64, when it is small enough to travel inside. */
  readonly data?: string;
}

/**
 * This checks a descriptor taken from JSON of unknown origin; fields that it does not know are dropped.
 *
 * @param place where the value stands, for the error text
 * @throws invalid_argument - a field is missing or of the wrong type
 */
export function parseDescriptor(value: unknown, place: string): Descriptor {
  const fields = record(value, place);
  const { mediaType, digest, size, annotations, platform, artifactType, urls, data } = fields;
  if (typeof mediaType !== "string" || mediaType === "") throw invalidArgument(`${place}: mediaType is missing`);
  if (typeof digest !== "string") throw invalidArgument(`${place}: digest is missing`);
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) {
    throw invalidArgument(`${place}: invalid size ${JSON.stringify(size)}`);
  }
  return {
    mediaType,
    digest: parseDigest(digest),
    size,
    ...(annotations === undefined || annotations === null ? {} : { annotations: stringMap(annotations, place) }),
    ...(platform === undefined || platform === null ? {} : { platform: parsePlatformObject(platform, place) }),
    ...(typeof artifactType === "string" ? { artifactType } : {}),
    ...(Array.isArray(urls) ? { urls: urls.filter((url) => typeof url === "string") } : {}),
    ...(typeof data === "string" ? { data } : {}),
  };
}

function parsePlatformObject(value: unknown, place: string): Platform {
  const fields = record(value, `${place}: platform`);
  const text = (name: string): string => {
    const field = fields[name];
    return typeof field === "string" ? field : "";
  };
  const features = fields["os.features"];
  return {
    os: text("os"),
    architecture: text("architecture"),
    variant: text("variant"),
    osVersion: text("os.version"),
    osFeatures: Array.isArray(features) ? features.filter((feature) => typeof feature === "string") : [],
  };
}

/** This narrows a JSON value to annotations, or throws invalid_argument naming the place. */
export function stringMap(value: unknown, place: string): Record<string, string> {
  const result: Record<string, string> = Object.create(null);
  for (const [key, entry] of Object.entries(record(value, `${place}: annotations`))) {
    if (typeof entry !== "string") throw invalidArgument(`${place}: annotation ${JSON.stringify(key)} is not a string`);
    result[key] = entry;
  }
  return result;
}

/** This narrows a JSON value to an object, or throws invalid_argument naming the place. */
export function record(value: unknown, place: string): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw invalidArgument(`${place}: expected an object`);
  }
  // Every property of a JSON object is reachable by a string key and checked where it is used.
  return value as Readonly<Record<string, unknown>>;
}
