import { invalidArgument } from "@berth/errors";

import type { Descriptor } from "./descriptor.ts";
import { parseDescriptor, record, stringMap } from "./descriptor.ts";
import type { Digest } from "./digest.ts";
import { parseDigest } from "./digest.ts";
import type { Platform } from "./platform.ts";

/** A list of manifests, one for each platform. */
export interface ImageIndex {
  readonly mediaType?: string;
  readonly manifests: readonly Descriptor[];
  readonly annotations?: Readonly<Record<string, string>>;
}

/** The configuration and the layers of one image. */
export interface ImageManifest {
  readonly mediaType?: string;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
  readonly subject?: Descriptor;
}

/** What a container made from an image starts with, as far as the image says it. */
export interface ImageConfigDefaults {
  readonly User?: string;
  readonly Env?: readonly string[];
  readonly Entrypoint?: readonly string[];
  readonly Cmd?: readonly string[];
  readonly WorkingDir?: string;
  readonly Labels?: Readonly<Record<string, string>>;
  readonly StopSignal?: string;
  readonly Volumes?: Readonly<Record<string, unknown>>;
}

/** The configuration blob of an image. */
export interface ImageConfig {
  readonly platform: Platform;
  readonly config: ImageConfigDefaults;
  /** Digests of the uncompressed layers, base first. */
  readonly diffIds: readonly Digest[];
}

/** This reads an index. @throws invalid_argument - it is not JSON, or not an index */
export function parseIndex(bytes: Uint8Array, place: string): ImageIndex {
  const fields = json(bytes, place);
  if (!Array.isArray(fields["manifests"])) throw invalidArgument(`${place}: not an index, "manifests" is missing`);
  const annotations = fields["annotations"] ?? undefined;
  return {
    ...mediaTypeOf(fields),
    manifests: fields["manifests"].map((entry, index) => parseDescriptor(entry, `${place}: manifest ${index}`)),
    ...(annotations !== undefined && { annotations: stringMap(annotations, place) }),
  };
}

/** This reads a manifest. @throws invalid_argument - it is not JSON, or not a manifest (schema 1 included) */
export function parseManifest(bytes: Uint8Array, place: string): ImageManifest {
  const fields = json(bytes, place);
  if (!Array.isArray(fields["layers"]) || fields["config"] === undefined) {
    throw invalidArgument(`${place}: not a manifest, "config" or "layers" is missing`);
  }
  return {
    ...mediaTypeOf(fields),
    config: parseDescriptor(fields["config"], `${place}: config`),
    layers: fields["layers"].map((entry, index) => parseDescriptor(entry, `${place}: layer ${index}`)),
    ...(fields["subject"] ? { subject: parseDescriptor(fields["subject"], `${place}: subject`) } : {}),
  };
}

/** This reads the configuration of an image. @throws invalid_argument - it is not JSON, or of the wrong shape */
export function parseImageConfig(bytes: Uint8Array, place: string): ImageConfig {
  const fields = json(bytes, place);
  const rootfs = record(fields["rootfs"] ?? {}, `${place}: rootfs`);
  const diffIds = rootfs["diff_ids"] ?? [];
  if (!Array.isArray(diffIds)) throw invalidArgument(`${place}: rootfs.diff_ids is not a list`);
  const text = (name: string): string => {
    const field = fields[name];
    return typeof field === "string" ? field : "";
  };
  return {
    platform: {
      os: text("os"),
      architecture: text("architecture"),
      variant: text("variant"),
      osVersion: text("os.version"),
    },
    config: parseDefaults(fields["config"] ?? {}, `${place}: config`),
    diffIds: diffIds.map((digest) => parseDigest(String(digest))),
  };
}

function parseDefaults(value: unknown, place: string): ImageConfigDefaults {
  const fields = record(value, place);
  const text = (name: string) => (typeof fields[name] === "string" ? { [name]: fields[name] } : {});
  const list = (name: string) => {
    const entry = fields[name];
    return Array.isArray(entry) ? { [name]: entry.map(String) } : {};
  };
  const map = (name: string) => (fields[name] ? { [name]: record(fields[name], `${place}: ${name}`) } : {});
  return {
    ...text("User"),
    ...list("Env"),
    ...list("Entrypoint"),
    ...list("Cmd"),
    ...text("WorkingDir"),
    ...map("Labels"),
    ...text("StopSignal"),
    ...map("Volumes"),
  };
}

function json(bytes: Uint8Array, place: string): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw invalidArgument(`${place}: not JSON`, { cause: error });
  }
  return record(value, place);
}

function mediaTypeOf(fields: Readonly<Record<string, unknown>>): { mediaType?: string } {
  const { mediaType } = fields;
  return typeof mediaType === "string" ? { mediaType } : {};
}
