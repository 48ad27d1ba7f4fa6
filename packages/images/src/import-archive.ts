import type { TarBudgets } from "@berth/archive";
import type { ContentStore } from "@berth/core/content";
import type { ImageSpec, ImageStore } from "@berth/core/images";
import type { Labels } from "@berth/core/labels";
import { noLabels } from "@berth/core/labels";
import { invalidArgument, isNotFound, notFound } from "@berth/errors";
import type { Descriptor, PlatformMatcher } from "@berth/oci";
import { hostPlatform, only } from "@berth/oci";

import type { DockerArchiveOptions } from "./docker-archive.ts";
import { convertDockerArchive, IMAGE_NAME_ANNOTATION, REF_NAME_ANNOTATION } from "./docker-archive.ts";
import { labelChildren, SUBJECT_ANNOTATION } from "./gc-labels.ts";
import { children } from "./image-children.ts";
import { digestName, translateReference } from "./image-names.ts";
import type { ArchiveContents, ArchiveWatcher } from "./read-archive.ts";
import { layoutIndex, readArchive } from "./read-archive.ts";
import type { ChildrenHandler } from "./walk.ts";
import { filterPlatforms, walk } from "./walk.ts";

/** Options of {@link importArchive}. */
export interface ImportOptions extends DockerArchiveOptions, ArchiveWatcher {
  /** Where the blobs go; the caller holds a lease for them. */
  readonly content: ContentStore;
  /** Where the names go; absent: they are only returned. */
  readonly images?: ImageStore;
  /** Only manifests that fit are kept from the garbage collector and must be complete; those of the host when absent. */
  readonly platform?: PlatformMatcher;
  /** Put before names that are bare tags; images with other full names are then left out. Absent: `import-<date>`, and all are taken. */
  readonly baseName?: string;
  /** Name each manifest by its digest too, `<base name>@<digest>`. */
  readonly digests?: boolean;
  /** With `digests`: not those that have a name. */
  readonly skipDigestForNamed?: boolean;
  /** Name of the index itself. */
  readonly indexName?: string;
  /** Labels of the images. */
  readonly labels?: Labels;
  /** Leave layers to the garbage collector, for images that are unpacked at once. */
  readonly discardLayers?: boolean;
  /** Pass over manifests that the archive does not hold. */
  readonly skipMissing?: boolean;
  readonly budgets?: Partial<TarBudgets>;
  /** Called with each chunk of an archive that is not compressed when nothing more is done with it. */
  readonly release?: ((chunk: Uint8Array) => void) | undefined;
}

/** What an import made. */
export interface ImportResult {
  /** The archive's index, for which no image need exist. */
  readonly index: Descriptor;
  readonly images: readonly ImageSpec[];
}

const MAX_LAYOUT_VERSION = "1.0.0";

/**
 * This imports an OCI layout or a Docker archive, compressed or not: blobs into the content store, with the labels that keep
 * them, then names into the image store. Blobs that no manifest refers to are stored as well and left to the collector.
 *
 * After a failure no ingest is left; blobs that were complete go when the caller's lease ends.
 *
 * @throws invalid_argument - not such an archive, or a malformed or hostile one
 * @throws failed_precondition - a blob's bytes do not have the digest that its name says
 * @throws not_found - a manifest refers to one that the archive has not, or none is for the platform
 * @throws resource_exhausted, data_loss - a budget is exceeded; the archive is cut off
 * @see containerd client/import.go, Import
 */
export async function importArchive(source: AsyncIterable<Uint8Array>, options: ImportOptions): Promise<ImportResult> {
  const contents = await readArchive(source, options);
  const index = await indexOf(contents, options);
  const entries = await children(options.content, index, options);
  const images = namedImages(index, entries, options);
  await keepTree(index, options);
  for (const image of images) await storeImage(image, options);
  return { index, images };
}

async function indexOf(contents: ArchiveContents, options: ImportOptions): Promise<Descriptor> {
  const { layout, dockerManifest, files } = contents;
  if (layout === undefined) {
    if (dockerManifest === undefined) throw invalidArgument("neither an OCI layout nor a Docker archive");
    return convertDockerArchive(options.content, contents, dockerManifest, options);
  }
  const version = layoutVersion(layout);
  if (version !== MAX_LAYOUT_VERSION)
    throw invalidArgument(`unsupported version ${JSON.stringify(version)} of OCI layout`);
  const index = files.get("index.json");
  if (index === undefined) throw invalidArgument("OCI layout without index.json");
  return layoutIndex(index);
}

function layoutVersion(layout: Uint8Array): unknown {
  let document: unknown;
  try {
    document = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(layout));
  } catch (error) {
    throw invalidArgument("oci-layout of the archive is not JSON", { cause: error });
  }
  if (typeof document !== "object" || document === null)
    throw invalidArgument("oci-layout of the archive is no object");
  return new Map<string, unknown>(Object.entries(document)).get("imageLayoutVersion");
}

function namedImages(index: Descriptor, entries: readonly Descriptor[], options: ImportOptions): ImageSpec[] {
  const labels = options.labels ?? noLabels;
  const prefix = options.baseName ?? `import-${new Date().toISOString().slice(0, 10)}`;
  const images: ImageSpec[] = [];
  if (options.indexName !== undefined) images.push({ name: options.indexName, labels, target: index });
  for (const target of entries) {
    const name = nameOf(target, prefix, options.baseName !== undefined);
    if (name !== undefined) images.push({ name, labels, target });
    const isReferrer = target.annotations?.[SUBJECT_ANNOTATION] !== undefined;
    if (options.digests !== true || isReferrer) continue;
    if (options.skipDigestForNamed === true && name !== undefined) continue;
    images.push({ name: digestName(prefix, target.digest), labels, target });
  }
  return images;
}

function nameOf({ annotations }: Descriptor, prefix: string, onlyPrefix: boolean): string | undefined {
  const name = annotations?.[IMAGE_NAME_ANNOTATION];
  if (name) return name;
  const reference = annotations?.[REF_NAME_ANNOTATION];
  return reference ? translateReference(reference, { prefix, onlyPrefix }) : undefined;
}

/** Labels every parent with its children; a child whose blob is missing is an error. */
async function keepTree(index: Descriptor, options: ImportOptions): Promise<void> {
  const { content, signal } = options;
  const platform = options.platform ?? only(hostPlatform());
  const handler = filterPlatforms((descriptor) => readChildren(descriptor, options), platform);
  let found = false;
  const labelling: ChildrenHandler = async (descriptor) => {
    const below = await handler(descriptor);
    if (below.length > 0) found = true;
    await labelChildren(content, descriptor, below, { signal, withoutLayers: options.discardLayers ?? false });
    return below;
  };
  // The walk is made for what its handler does.
  for await (const _descriptor of walk(index, labelling)) signal?.throwIfAborted();
  if (!found) throw notFound("the archive holds no image for the platform");
}

async function readChildren(descriptor: Descriptor, options: ImportOptions): Promise<readonly Descriptor[]> {
  try {
    return await children(options.content, descriptor, options);
  } catch (error) {
    if (options.skipMissing === true && isNotFound(error)) return [];
    throw error;
  }
}

async function storeImage(image: ImageSpec, { images, labels, signal }: ImportOptions): Promise<void> {
  if (images === undefined) return;
  const fieldpaths = labels === undefined ? ["target"] : ["target", "labels"];
  try {
    await images.update(image, { fieldpaths, signal });
  } catch (error) {
    if (!isNotFound(error)) throw error;
    await images.create(image, { signal });
  }
}
