import { createHash } from "node:crypto";

import type { CallOptions } from "@berth/core/any";
import type { ContentProvider, ContentStore } from "@berth/core/content";
import { writeBlob } from "@berth/core/content";
import { invalidArgument } from "@berth/errors";
import type { Descriptor } from "@berth/oci";
import { formatDigest } from "@berth/oci";

import { ingestRef } from "./download-blob.ts";
import { childLabels, labelChildren } from "./gc-labels.ts";
import { encodeGoJson } from "./go-json.ts";
import { readJson } from "./image-children.ts";

/** A manifest, index or configuration with all its fields, also those that nobody here knows. */
export type ImageDocument = Readonly<Record<string, unknown>>;

/** This reads a document, to write it again with changes. @throws not_found, resource_exhausted, invalid_argument - not a JSON object */
export async function readDocument(
  content: ContentProvider,
  descriptor: Descriptor,
  options?: CallOptions,
): Promise<ImageDocument> {
  const bytes = await readJson(content, descriptor, options);
  return asDocument(parse(bytes, descriptor.digest), descriptor.digest);
}

/** This returns a value of JSON as a document. @throws invalid_argument - it is no object */
export function asDocument(value: unknown, place: string): ImageDocument {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw invalidArgument(`${place}: expected an object`);
  // Every object that comes of JSON has only strings as keys.
  return value as ImageDocument;
}

function parse(bytes: Uint8Array, place: string): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    throw invalidArgument(`${place}: not JSON`, { cause: error });
  }
}

/** This stores a document, with the labels that keep its children, and returns its descriptor. The same document gives the same bytes. */
export async function writeDocument(
  content: ContentStore,
  mediaType: string,
  document: ImageDocument,
  { children = [], ...options }: CallOptions & { readonly children?: readonly Descriptor[] } = {},
): Promise<Descriptor> {
  const bytes = encodeGoJson(document);
  const digest = formatDigest("sha256", createHash("sha256").update(bytes).digest("hex"));
  const descriptor = { mediaType, digest, size: bytes.length };
  await writeBlob(content, ingestRef(descriptor), [bytes], descriptor, { ...options, labels: childLabels(children) });
  // One that was there already has not got them from this.
  await labelChildren(content, descriptor, children, options);
  return descriptor;
}
