import {
  ContainerCreateSchema,
  ContainerDeleteSchema,
  ContainerUpdateSchema,
} from "@berth/api/containerd/events/container";
import type { CallOptions } from "@berth/core/any";
import type { Container, ContainerSpec, ContainerStore } from "@berth/core/containers";
import type { ListOptions, UpdateOptions } from "@berth/core/content";
import { toProtoLabels, validateLabels } from "@berth/core/labels";
import { validateIdentifier } from "@berth/core/namespaces";
import { alreadyExists, invalidArgument, notFound } from "@berth/errors";
import type { Adaptor } from "@berth/filters";
import { adapt } from "@berth/filters";

import { containers } from "../database/tables.ts";
import { splitFieldPath, storedLabels, withEntry } from "./field-paths.ts";
import { listRecords } from "./list-records.ts";
import { mergeExtensions } from "./merge-extensions.ts";
import type { Scope } from "./scope.ts";
import { pathIn } from "./scope.ts";

/** What a full replacement changes; the rest of a container stays as it was made. */
const REPLACED_FIELDS = ["labels", "spec", "extensions", "image", "snapshotkey"];

/** Containers of one namespace, in the database. */
export class DatabaseContainerStore implements ContainerStore {
  readonly #scope: Scope;

  constructor(scope: Scope) {
    this.#scope = scope;
  }

  async get(id: string, options: CallOptions = {}): Promise<Container> {
    options.signal?.throwIfAborted();
    const { database, namespace } = this.#scope;
    const container = database.index.bucket(containers, namespace).get(id);
    if (container === undefined) throw notFound(`container ${JSON.stringify(id)}`);
    return container;
  }

  list(options: ListOptions = {}): AsyncIterable<Container> {
    const { database, namespace } = this.#scope;
    return listRecords(database.index.bucket(containers, namespace).sorted(), containerFields, options);
  }

  async create(spec: ContainerSpec, options: CallOptions = {}): Promise<Container> {
    validateContainer(spec);
    return this.#scope.database.update((tx) => {
      const path = pathIn(this.#scope, spec.id);
      if (tx.has(containers, path)) throw alreadyExists(`container ${JSON.stringify(spec.id)}`);
      const now = Date.now();
      const container = toContainer(spec, { createdAt: now, updatedAt: now });
      tx.put(containers, path, container);
      const { id, image, runtime } = container;
      tx.emit(this.#scope.namespace, "/containers/create", ContainerCreateSchema, { id, image, runtime });
      return container;
    }, options);
  }

  async update(spec: ContainerSpec, options: UpdateOptions = {}): Promise<Container> {
    if (spec.id === "") throw invalidArgument("must specify a container id");
    return this.#scope.database.update((tx) => {
      const path = pathIn(this.#scope, spec.id);
      const current = tx.get(containers, path);
      if (current === undefined) throw notFound(`container ${JSON.stringify(spec.id)}`);
      const changed = changeContainer(current, spec, options.fieldpaths ?? []);
      validateContainer(changed);
      const container = toContainer(changed, { createdAt: current.createdAt, updatedAt: Date.now() });
      tx.put(containers, path, container);
      const { id, image, labels, snapshotKey } = container;
      const event = { id, image, labels: toProtoLabels(labels), snapshotKey };
      tx.emit(this.#scope.namespace, "/containers/update", ContainerUpdateSchema, event);
      return container;
    }, options);
  }

  async delete(id: string, options: CallOptions = {}): Promise<void> {
    await this.#scope.database.update((tx) => {
      const path = pathIn(this.#scope, id);
      if (!tx.has(containers, path)) throw notFound(`container ${JSON.stringify(id)}`);
      tx.delete(containers, path);
      tx.markDirty();
      tx.emit(this.#scope.namespace, "/containers/delete", ContainerDeleteSchema, { id });
    }, options);
  }
}

function toContainer(spec: ContainerSpec, times: Pick<Container, "createdAt" | "updatedAt">): Container {
  const { id, image, runtime, snapshotter, snapshotKey, extensions, sandboxId } = spec;
  const labels = storedLabels(spec.labels);
  const own = spec.spec === undefined ? {} : { spec: spec.spec };
  return { id, labels, image, runtime, ...own, snapshotter, snapshotKey, extensions, sandboxId, ...times };
}

function changeContainer(current: Container, change: ContainerSpec, fieldpaths: readonly string[]): ContainerSpec {
  if (fieldpaths.length === 0) checkImmutable(current, change);
  let result: ContainerSpec = current;
  for (const path of fieldpaths.length === 0 ? REPLACED_FIELDS : fieldpaths) result = changeField(result, change, path);
  return result;
}

function checkImmutable(current: Container, { id, runtime, snapshotter }: ContainerSpec): void {
  if (runtime.name !== current.runtime.name) {
    throw invalidArgument(`runtime name of container ${JSON.stringify(id)} is immutable: ${current.runtime.name}`);
  }
  if (snapshotter !== current.snapshotter) {
    throw invalidArgument(`snapshotter of container ${JSON.stringify(id)} is immutable: ${current.snapshotter}`);
  }
}

function changeField(target: ContainerSpec, change: ContainerSpec, path: string): ContainerSpec {
  const [name, key] = splitFieldPath(path);
  if (name === "labels") {
    return { ...target, labels: key === undefined ? change.labels : withEntry(target.labels, key, change.labels) };
  }
  if (name === "extensions")
    return { ...target, extensions: mergeExtensions(target.extensions, change.extensions, key) };
  if (path === "image") return { ...target, image: change.image };
  if (path === "snapshotkey") return { ...target, snapshotKey: change.snapshotKey };
  if (path === "spec") {
    const { spec: _, ...rest } = target;
    return change.spec === undefined ? rest : { ...rest, spec: change.spec };
  }
  throw invalidArgument(`cannot update ${JSON.stringify(path)} field on container ${JSON.stringify(target.id)}`);
}

/** @see containerd core/metadata/containers.go, validateContainer */
function validateContainer(container: ContainerSpec): void {
  validateIdentifier(container.id, "container id");
  if (container.extensions.has(""))
    throw invalidArgument(`extension keys of container ${container.id} must not be empty`);
  validateLabels(container.labels);
  if (container.runtime.name === "") throw invalidArgument(`runtime name of container ${container.id} must be set`);
  if (container.spec === undefined) throw invalidArgument(`spec of container ${container.id} must be set`);
  if (container.snapshotKey !== "" && container.snapshotter === "") {
    throw invalidArgument(`snapshotter of container ${container.id} must be set: it has a snapshot key`);
  }
}

function containerFields({ id, runtime, image, labels }: Container): Adaptor {
  return adapt({ id, "runtime.name": runtime.name, image }, { labels });
}
