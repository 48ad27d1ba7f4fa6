import type { CallOptions } from "@berth/core/any";
import type { ContentProvider } from "@berth/core/content";
import { readBlob } from "@berth/core/content";
import { invalidArgument } from "@berth/errors";
import type { Descriptor, ImageIndex, ImageManifest } from "@berth/oci";
import { isIndexType, isManifestType, parseIndex, parseManifest } from "@berth/oci";

/** No manifest, index or configuration is taken into memory beyond this. */
export const MAX_JSON_BYTES = 20 * 1024 * 1024;

/**
 * This reads an index.
 *
 * @throws not_found
 * @throws invalid_argument - not an index, or one that is a manifest as well
 * @throws resource_exhausted - larger than 20 MiB
 */
export async function readIndex(
  content: ContentProvider,
  descriptor: Descriptor,
  options?: CallOptions,
): Promise<ImageIndex> {
  const place = `index ${descriptor.digest}`;
  const bytes = await readJson(content, descriptor, options);
  rejectAmbiguous(bytes, place, ["config", "layers"], isManifestType);
  return parseIndex(bytes, place);
}

/** This reads a manifest; errors as {@link readIndex}. */
export async function readManifest(
  content: ContentProvider,
  descriptor: Descriptor,
  options?: CallOptions,
): Promise<ImageManifest> {
  const place = `manifest ${descriptor.digest}`;
  const bytes = await readJson(content, descriptor, options);
  rejectAmbiguous(bytes, place, ["manifests"], isIndexType);
  return parseManifest(bytes, place);
}

/**
 * This returns what a descriptor's content refers to: the manifests of an index, configuration and layers of a manifest,
 * nothing for anything else, which is not read.
 *
 * @throws as {@link readIndex}
 * @see containerd core/images/image.go, Children
 */
export async function children(
  content: ContentProvider,
  descriptor: Descriptor,
  options?: CallOptions,
): Promise<readonly Descriptor[]> {
  if (isManifestType(descriptor.mediaType)) {
    const { config, layers } = await readManifest(content, descriptor, options);
    return [config, ...layers];
  }
  if (isIndexType(descriptor.mediaType)) return (await readIndex(content, descriptor, options)).manifests;
  return [];
}

/** This reads a blob of JSON. @throws not_found, resource_exhausted - larger than 20 MiB */
export async function readJson(
  content: ContentProvider,
  { digest }: Pick<Descriptor, "digest">,
  options?: CallOptions,
): Promise<Uint8Array> {
  return await readBlob(content, digest, { ...options, limitBytes: MAX_JSON_BYTES });
}

/** A document that two readers understand differently could show one what it hides from the other (CVE-2021-41190). */
function rejectAmbiguous(
  bytes: Uint8Array,
  place: string,
  foreign: readonly string[],
  isForeignType: (mediaType: string) => boolean,
): void {
  let document: unknown;
  try {
    document = JSON.parse(new TextDecoder().decode(bytes));
  } catch (error) {
    throw invalidArgument(`${place}: not JSON`, { cause: error });
  }
  if (typeof document !== "object" || document === null) throw invalidArgument(`${place}: expected an object`);
  const fields = new Map<string, unknown>(Object.entries(document));
  if (fields.has("fsLayers")) throw invalidArgument(`${place}: schema 1 is not supported`);
  const mediaType = fields.get("mediaType");
  const found = foreign.find((name) => isFilled(fields.get(name)));
  if (found !== undefined) throw invalidArgument(`${place}: unexpected ${JSON.stringify(found)}`);
  if (typeof mediaType === "string" && isForeignType(mediaType)) throw invalidArgument(`${place}: is a ${mediaType}`);
}

function isFilled(value: unknown): boolean {
  return value !== undefined && value !== null && !(Array.isArray(value) && value.length === 0);
}
