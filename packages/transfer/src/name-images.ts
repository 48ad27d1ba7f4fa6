import type { CallOptions } from "@berth/core/any";
import type { ImageSpec, ImageStore } from "@berth/core/images";
import type { Labels } from "@berth/core/labels";
import { LeaseLabel } from "@berth/core/leases";
import type { StoredImages, TransferOptions } from "@berth/core/transfer";
import { invalidArgument, isNotFound } from "@berth/errors";
import { digestName, IMAGE_NAME_ANNOTATION, REF_NAME_ANNOTATION, translateReference } from "@berth/images";
import type { Descriptor } from "@berth/oci";

/**
 * This returns the images that a target becomes: one under the name of the destination, and one for each further name. A prefix
 * names what has no name in an archive by its digest alone, if at all; that others have names does not matter to it.
 *
 * @see containerd core/transfer/image/imagestore.go, Store.Store
 */
export function namesOf(target: Descriptor, to: StoredImages): ImageSpec[] {
  const { name, labels } = to;
  const main = name === "" ? [] : [{ name, labels, target }];
  const others = to.extraNames
    .filter(({ isPrefix, addDigest }) => !isPrefix || addDigest)
    .map((extra) => (extra.addDigest ? digestName(extra.name, target.digest) : extra.name))
    .filter((each) => each !== name);
  return [...main, ...furtherImages(others, target, to)];
}

function furtherImages(names: readonly string[], target: Descriptor, { name, labels }: StoredImages): ImageSpec[] {
  const theirs = name === "" ? labels : new Map([...labels, ...boundTo(name)]);
  return [...new Set(names)].map((each) => ({ name: each, labels: theirs, target }));
}

/** What makes a name vanish with the image that it is another name of, or came with. */
function boundTo(name: string): Labels {
  return new Map([
    ["containerd.io/gc.bref.image", name],
    [LeaseLabel.expire, new Date().toISOString()],
  ]);
}

/** This returns the images that an entry of an archive's index becomes: under the name that it has there, and its digest. */
export function archivedNamesOf(target: Descriptor, to: StoredImages): ImageSpec[] {
  const names: string[] = [];
  for (const { name: prefix, isPrefix, allowOverwrite, addDigest, skipNamedDigest } of to.extraNames) {
    if (!isPrefix) continue;
    const name = archivedName(target, prefix, !allowOverwrite);
    if (name !== undefined) names.push(name);
    if (addDigest && (name === undefined || !skipNamedDigest)) names.push(digestName(prefix, target.digest));
  }
  return furtherImages(names, target, to);
}

function archivedName({ annotations }: Descriptor, prefix: string, onlyPrefix: boolean): string | undefined {
  const text = annotations?.[IMAGE_NAME_ANNOTATION] ?? annotations?.[REF_NAME_ANNOTATION];
  return text === undefined || text === "" ? undefined : translateReference(text, { prefix, onlyPrefix });
}

/** This puts images into the store; a name that is taken stands for the new target from now on. */
export async function storeImages(
  store: ImageStore,
  images: readonly ImageSpec[],
  { signal, onProgress }: TransferOptions,
): Promise<void> {
  for (const image of images) {
    await storeImage(store, image, { signal });
    onProgress?.({ event: "saved", name: image.name, descriptor: image.target });
  }
}

async function storeImage(store: ImageStore, image: ImageSpec, options: CallOptions): Promise<void> {
  try {
    await store.update(image, options);
  } catch (error) {
    if (!isNotFound(error)) throw error;
    await store.create(image, options);
  }
}

/** This looks up the images that a source names. @throws not_found; invalid_argument - it names none, or a prefix */
export async function findImages(
  store: ImageStore,
  { name, extraNames }: StoredImages,
  options: CallOptions,
): Promise<readonly ImageSpec[]> {
  if (extraNames.some(({ isPrefix }) => isPrefix)) throw invalidArgument("images are not looked up by a prefix");
  const names = new Set([...(name === "" ? [] : [name]), ...extraNames.map((extra) => extra.name)]);
  if (names.size === 0) throw invalidArgument("no image is named");
  const found: ImageSpec[] = [];
  for (const each of names) found.push(await store.get(each, options));
  return found;
}

/** This looks up the one image that a source names. @throws not_found; invalid_argument - it names none, or several */
export async function findOne(store: ImageStore, from: StoredImages, options: CallOptions): Promise<ImageSpec> {
  const [image, ...others] = await findImages(store, from, options);
  if (image === undefined || others.length > 0) throw invalidArgument("one image is to be named");
  return image;
}
