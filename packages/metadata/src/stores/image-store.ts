import {
  ImageCreateSchema,
  ImageDeleteSchema,
  ImageUpdateSchema,
} from "@berth/api/containerd/services/images/v1/events";
import type { CallOptions } from "@berth/core/any";
import type { ListOptions } from "@berth/core/content";
import type { DeleteOptions, Image, ImageSpec, ImageStore, ImageWriteOptions } from "@berth/core/images";
import { toProtoLabels, validateLabels } from "@berth/core/labels";
import { alreadyExists, invalidArgument, notFound } from "@berth/errors";
import type { Adaptor } from "@berth/filters";
import { adapt } from "@berth/filters";
import type { Descriptor } from "@berth/oci";
import { parseDigest } from "@berth/oci";

import { images } from "../database/tables.ts";
import type { Transaction } from "../database/transaction.ts";
import { splitFieldPath, storedLabels, withEntry } from "./field-paths.ts";
import { attachToLease, detachFromLease } from "./lease-resource.ts";
import { listRecords } from "./list-records.ts";
import type { Scope } from "./scope.ts";
import { pathIn } from "./scope.ts";

const EXPIRE_LABEL = "containerd.io/gc.expire";

/** Images of one namespace, in the database. */
export class DatabaseImageStore implements ImageStore {
  readonly #scope: Scope;

  constructor(scope: Scope) {
    this.#scope = scope;
  }

  async get(name: string, options: CallOptions = {}): Promise<Image> {
    options.signal?.throwIfAborted();
    const { database, namespace } = this.#scope;
    const image = database.index.bucket(images, namespace).get(name);
    if (image === undefined) throw notFound(`image ${JSON.stringify(name)}`);
    return image;
  }

  list(options: ListOptions = {}): AsyncIterable<Image> {
    const { database, namespace } = this.#scope;
    return listRecords(database.index.bucket(images, namespace).sorted(), imageFields, options);
  }

  async create(spec: ImageSpec, options: ImageWriteOptions = {}): Promise<Image> {
    validateImage(spec);
    return this.#scope.database.update((tx) => {
      const path = pathIn(this.#scope, spec.name);
      if (tx.has(images, path)) throw alreadyExists(`image ${JSON.stringify(spec.name)}`);
      const now = options.sourceDateEpoch ?? Date.now();
      const image = toImage(spec, { createdAt: now, updatedAt: now });
      this.#write(tx, image);
      tx.emit(this.#scope.namespace, "/images/create", ImageCreateSchema, nameAndLabels(image));
      return image;
    }, options);
  }

  async update(spec: ImageSpec, options: ImageWriteOptions = {}): Promise<Image> {
    if (spec.name === "") throw invalidArgument("image name is required for update");
    return this.#scope.database.update((tx) => {
      const current = tx.get(images, pathIn(this.#scope, spec.name));
      if (current === undefined) throw notFound(`image ${JSON.stringify(spec.name)}`);
      const changed = changeImage(current, spec, options.fieldpaths ?? []);
      validateImage(changed);
      const updatedAt = options.sourceDateEpoch ?? Date.now();
      const image = toImage(changed, { createdAt: current.createdAt, updatedAt });
      this.#write(tx, image);
      tx.emit(this.#scope.namespace, "/images/update", ImageUpdateSchema, nameAndLabels(image));
      return image;
    }, options);
  }

  async delete(
    name: string,
    options: DeleteOptions & { readonly target?: Pick<Descriptor, "digest"> } = {},
  ): Promise<void> {
    await this.#scope.database.update((tx) => {
      const path = pathIn(this.#scope, name);
      const current = tx.get(images, path);
      if (current === undefined) throw notFound(`image ${JSON.stringify(name)}`);
      const { target } = options;
      if (target !== undefined && target.digest !== current.target.digest) {
        throw notFound(`image ${JSON.stringify(name)} has target ${current.target.digest}, not ${target.digest}`);
      }
      tx.delete(images, path);
      detachFromLease(tx, this.#scope, "images", name);
      tx.markDirty();
      tx.emit(this.#scope.namespace, "/images/delete", ImageDeleteSchema, { name });
    }, options);
    if (options.sync === true) await this.#scope.collect(options);
  }

  #write(tx: Transaction, image: Image): void {
    tx.put(images, pathIn(this.#scope, image.name), image);
    // Any other image is a root of its own and needs no lease.
    if (image.labels.has(EXPIRE_LABEL)) attachToLease(tx, this.#scope, "images", image.name);
  }
}

function toImage(spec: ImageSpec, times: Pick<Image, "createdAt" | "updatedAt">): Image {
  const { mediaType, digest, size, annotations = {} } = spec.target;
  const kept: Record<string, string> = Object.create(null);
  for (const [key, value] of Object.entries(annotations)) if (value !== "") kept[key] = value;
  const target = { mediaType, digest, size, ...(Object.keys(kept).length === 0 ? {} : { annotations: kept }) };
  return { name: spec.name, labels: storedLabels(spec.labels), target, ...times };
}

/** Without field paths everything is replaced. */
function changeImage(current: Image, change: ImageSpec, fieldpaths: readonly string[]): ImageSpec {
  if (fieldpaths.length === 0) return change;
  let result: ImageSpec = current;
  for (const path of fieldpaths) result = changeField(result, change, path);
  return result;
}

function changeField(image: ImageSpec, change: ImageSpec, path: string): ImageSpec {
  const [name, key] = splitFieldPath(path);
  if (name === "labels") {
    return { ...image, labels: key === undefined ? change.labels : withEntry(image.labels, key, change.labels) };
  }
  if (name === "annotations") {
    return { ...image, target: { ...image.target, annotations: changeAnnotations(image.target, change.target, key) } };
  }
  if (path === "target") return { ...image, target: change.target };
  throw invalidArgument(`cannot update ${JSON.stringify(path)} field on image ${JSON.stringify(image.name)}`);
}

function changeAnnotations(current: Descriptor, change: Descriptor, key: string | undefined): Record<string, string> {
  if (key === undefined) return { ...change.annotations };
  const source = new Map(Object.entries(change.annotations ?? {}));
  return toProtoLabels(withEntry(new Map(Object.entries(current.annotations ?? {})), key, source));
}

/** @see containerd core/metadata/images.go, validateImage */
function validateImage({ name, labels, target }: ImageSpec): void {
  if (name === "") throw invalidArgument("image name must not be empty");
  validateLabels(labels);
  parseDigest(target.digest);
  if (!(target.size > 0)) throw invalidArgument(`size of target ${target.digest} must be greater than zero`);
  if (target.mediaType === "") throw invalidArgument(`media type of target ${target.digest} must be set`);
}

function nameAndLabels({ name, labels }: Image): { name: string; labels: Record<string, string> } {
  return { name, labels: toProtoLabels(labels) };
}

function imageFields({ name, labels, target }: Image): Adaptor {
  const fields = { name, "target.digest": target.digest, "target.mediatype": target.mediaType };
  return adapt(fields, { labels, annotations: new Map(Object.entries(target.annotations ?? {})) });
}
