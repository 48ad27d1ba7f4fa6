import type { CallOptions } from "@berth/core/any";
import type { ContentStore } from "@berth/core/content";
import { readBlob } from "@berth/core/content";
import type { Descriptor, Digest } from "@berth/oci";
import { MediaType, parseIndex, parseManifest } from "@berth/oci";

/** No manifest is larger; what is read is held in memory. */
const MAX_MANIFEST_BYTES = 4 * 1024 ** 2;
const OPENING_BRACE = 0x7b;

/** An index or a manifest in the content store. */
export interface ManifestNode {
  readonly descriptor: Descriptor;
  readonly kind: "index" | "manifest";
  readonly children: readonly Descriptor[];
}

/** What is in a content store, by digest: every blob's size, and those that are indexes or manifests. */
export interface ManifestGraph {
  readonly sizes: ReadonlyMap<Digest, number>;
  readonly nodes: ReadonlyMap<Digest, ManifestNode>;
}

/** This looks into every blob that may be a manifest. */
export async function readManifestGraph(content: ContentStore, options: CallOptions): Promise<ManifestGraph> {
  const sizes = new Map<Digest, number>();
  const nodes = new Map<Digest, ManifestNode>();
  for await (const { digest, size } of content.list(options)) {
    sizes.set(digest, size);
    const node = await readNode(content, digest, size, options);
    if (node !== undefined) nodes.set(digest, node);
  }
  return { sizes, nodes };
}

async function readNode(
  content: ContentStore,
  digest: Digest,
  size: number,
  options: CallOptions,
): Promise<ManifestNode | undefined> {
  if (size === 0 || size > MAX_MANIFEST_BYTES) return undefined;
  if (!(await beginsWithBrace(content, digest, options))) return undefined;
  const bytes = await readBlob(content, digest, { ...options, limitBytes: MAX_MANIFEST_BYTES });
  return parseNode(bytes, digest);
}

async function beginsWithBrace(content: ContentStore, digest: Digest, options: CallOptions): Promise<boolean> {
  await using reader = await content.reader(digest, options);
  return (await reader.readAt(0, 1, options))[0] === OPENING_BRACE;
}

/** This reads an index or a manifest, `undefined` for anything else that is stored. */
export function parseNode(bytes: Uint8Array, digest: Digest): ManifestNode | undefined {
  try {
    const value: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    if (typeof value !== "object" || value === null) return undefined;
    const isIndex = "manifests" in value;
    if (!isIndex && !("config" in value && "layers" in value)) return undefined;
    const annotations = annotationsOf(value);
    if (isIndex) {
      const { mediaType = MediaType.ociIndex, manifests } = parseIndex(bytes, digest);
      return { descriptor: describe(mediaType, digest, bytes, annotations), kind: "index", children: manifests };
    }
    const { mediaType = MediaType.ociManifest, config, layers } = parseManifest(bytes, digest);
    const descriptor = describe(mediaType, digest, bytes, annotations);
    return { descriptor, kind: "manifest", children: [config, ...layers] };
  } catch {
    // Anybody may store anything: a configuration, or text that looks like one.
    return undefined;
  }
}

function describe(
  mediaType: string,
  digest: Digest,
  bytes: Uint8Array,
  annotations: Readonly<Record<string, string>>,
): Descriptor {
  return { mediaType, digest, size: bytes.length, annotations };
}

function annotationsOf(value: object): Readonly<Record<string, string>> {
  const result: Record<string, string> = Object.create(null);
  const annotations: unknown = "annotations" in value ? value.annotations : undefined;
  for (const [key, text] of Object.entries(annotations ?? {})) if (typeof text === "string") result[key] = text;
  return result;
}
