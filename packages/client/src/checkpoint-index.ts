import { createHash } from "node:crypto";

import { AnySchema } from "@bufbuild/protobuf/wkt";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { AnyValue, CallOptions } from "@berth/core/any";
import type { ContentStore } from "@berth/core/content";
import { readBlob, writeBlob } from "@berth/core/content";
import { invalidArgument } from "@berth/errors";
import {
  descriptorJson,
  ingestRef,
  MAX_JSON_BYTES,
  readIndex,
  REF_NAME_ANNOTATION,
  writeDocument,
} from "@berth/images";
import type { Descriptor, ImageIndex } from "@berth/oci";
import { formatDigest, hostPlatform, isIndexType, MediaType } from "@berth/oci";

/** Media types of what is in a checkpoint beside an image and a layer. @see containerd core/images/mediatypes.go */
export const CheckpointType = {
  memory: "application/vnd.containerd.container.criu.checkpoint.criu.tar",
  spec: "application/vnd.containerd.container.checkpoint.config.v1+proto",
  options: "application/vnd.containerd.container.checkpoint.options.v1+proto",
  runtimeOptions: "application/vnd.containerd.container.checkpoint.runtime.options+proto",
} as const;

const RUNTIME_ANNOTATION = "io.containerd.checkpoint.runtime";
/** Berth's own. */
const CONTAINER_ANNOTATION = "io.berth.checkpoint.container";
const SNAPSHOTTER_ANNOTATION = "io.containerd.checkpoint.snapshotter";

/** What a checkpoint says of the container that it is of. */
export interface CheckpointOrigin {
  readonly image: string;
  readonly runtime: string;
  readonly snapshotter: string;
  /** Namespace and id; containerd's client does not tell it. */
  readonly container?: string;
}

/** This stores an index of what a checkpoint consists of. */
export async function writeCheckpoint(
  content: ContentStore,
  parts: readonly Descriptor[],
  annotations: Readonly<Record<string, string>>,
  options: CallOptions,
): Promise<Descriptor> {
  const document = { schemaVersion: 2, manifests: parts.map(descriptorJson), annotations };
  return await writeDocument(content, MediaType.ociIndex, document, { ...options, children: parts });
}

/** This returns the annotations of a checkpoint, in the order in which Go writes them. */
export function originAnnotations(origin: Required<CheckpointOrigin>): Readonly<Record<string, string>> {
  const { image, runtime, snapshotter, container } = origin;
  return {
    [CONTAINER_ANNOTATION]: container,
    [RUNTIME_ANNOTATION]: runtime,
    [SNAPSHOTTER_ANNOTATION]: snapshotter,
    [REF_NAME_ANNOTATION]: image,
  };
}

/** This reads the index of a checkpoint. @throws invalid_argument - it is of something else; not_found */
export async function readCheckpoint(
  content: ContentStore,
  target: Descriptor,
  options: CallOptions,
): Promise<{ readonly parts: readonly Descriptor[]; readonly origin: CheckpointOrigin }> {
  if (!isIndexType(target.mediaType)) throw invalidArgument("it is an image, not a checkpoint of a container");
  const { manifests, annotations = {} } = await readIndex(content, target, options);
  return { parts: manifests, origin: originOf(annotations) };
}

function originOf(annotations: NonNullable<ImageIndex["annotations"]>): CheckpointOrigin {
  const get = (name: string): string => {
    const value = annotations[name] ?? "";
    if (value === "") throw invalidArgument(`it is no checkpoint of a container: its index has no annotation ${name}`);
    return value;
  };
  const container = annotations[CONTAINER_ANNOTATION];
  return {
    ...(container !== undefined && { container }),
    image: get(REF_NAME_ANNOTATION),
    runtime: get(RUNTIME_ANNOTATION),
    snapshotter: get(SNAPSHOTTER_ANNOTATION),
  };
}

/** This finds a part of a checkpoint. @throws invalid_argument - it has none of that type; `complaint` says so to people */
export function requirePart(parts: readonly Descriptor[], mediaType: string, complaint: string): Descriptor {
  const part = parts.find((each) => each.mediaType === mediaType);
  if (part === undefined) throw invalidArgument(complaint);
  return part;
}

/** This stores a value as a part of a checkpoint. */
export async function writePart(
  content: ContentStore,
  mediaType: string,
  { typeUrl, value }: AnyValue,
  options: CallOptions,
): Promise<Descriptor> {
  const bytes = toBinary(AnySchema, create(AnySchema, { typeUrl, value }));
  const digest = formatDigest("sha256", createHash("sha256").update(bytes).digest("hex"));
  const descriptor = { mediaType, digest, size: bytes.length };
  await writeBlob(content, ingestRef(descriptor), [bytes], descriptor, options);
  return onThisPlatform(descriptor);
}

/** The inverse of {@link writePart}. @throws not_found, invalid_argument, resource_exhausted */
export async function readPart(
  content: ContentStore,
  { digest, mediaType }: Descriptor,
  options: CallOptions,
): Promise<AnyValue> {
  const bytes = await readBlob(content, digest, { ...options, limitBytes: MAX_JSON_BYTES });
  try {
    const { typeUrl, value } = fromBinary(AnySchema, bytes);
    return { typeUrl, value };
  } catch (error) {
    throw invalidArgument(`${mediaType} ${digest}: malformed`, { cause: error });
  }
}

/** A checkpoint goes on where it was made. */
export function onThisPlatform(descriptor: Descriptor): Descriptor {
  const { os, architecture } = hostPlatform();
  return { ...descriptor, platform: { os, architecture } };
}
