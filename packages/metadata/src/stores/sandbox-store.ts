import type { CallOptions } from "@berth/core/any";
import type { ListOptions, UpdateOptions } from "@berth/core/content";
import { validateLabels } from "@berth/core/labels";
import { validateIdentifier } from "@berth/core/namespaces";
import type { Sandbox, SandboxSpec, SandboxStore } from "@berth/core/sandboxes";
import { alreadyExists, invalidArgument, notFound } from "@berth/errors";
import { adapt } from "@berth/filters";

import { sandboxes } from "../database/tables.ts";
import { splitFieldPath, storedLabels, withEntry } from "./field-paths.ts";
import { listRecords } from "./list-records.ts";
import { mergeExtensions } from "./merge-extensions.ts";
import type { Scope } from "./scope.ts";
import { pathIn } from "./scope.ts";

/** What a full replacement changes; the rest of a sandbox stays as it was made. */
const REPLACED_FIELDS = ["labels", "extensions", "spec", "runtime"];

/** Sandboxes of one namespace, in the database. containerd sends no events of its records of sandboxes; nor does this. */
export class DatabaseSandboxStore implements SandboxStore {
  readonly #scope: Scope;

  constructor(scope: Scope) {
    this.#scope = scope;
  }

  async get(id: string, options: CallOptions = {}): Promise<Sandbox> {
    options.signal?.throwIfAborted();
    const { database, namespace } = this.#scope;
    const sandbox = database.index.bucket(sandboxes, namespace).get(id);
    if (sandbox === undefined) throw notFound(`sandbox ${JSON.stringify(id)}`);
    return sandbox;
  }

  list(options: ListOptions = {}): AsyncIterable<Sandbox> {
    const { database, namespace } = this.#scope;
    const fields = ({ id, labels }: Sandbox) => adapt({ id }, { labels });
    return listRecords(database.index.bucket(sandboxes, namespace).sorted(), fields, options);
  }

  async create(spec: SandboxSpec, options: CallOptions = {}): Promise<Sandbox> {
    validateSandbox(spec);
    return this.#scope.database.update((tx) => {
      const path = pathIn(this.#scope, spec.id);
      if (tx.has(sandboxes, path)) throw alreadyExists(`sandbox ${JSON.stringify(spec.id)}`);
      const now = Date.now();
      const sandbox = toSandbox(spec, { createdAt: now, updatedAt: now });
      tx.put(sandboxes, path, sandbox);
      return sandbox;
    }, options);
  }

  async update(spec: SandboxSpec, options: UpdateOptions = {}): Promise<Sandbox> {
    return this.#scope.database.update((tx) => {
      const path = pathIn(this.#scope, spec.id);
      const current = tx.get(sandboxes, path);
      if (current === undefined) throw notFound(`sandbox ${JSON.stringify(spec.id)}`);
      const changed = changeSandbox(current, spec, options.fieldpaths ?? []);
      validateSandbox(changed);
      const sandbox = toSandbox(changed, { createdAt: current.createdAt, updatedAt: Date.now() });
      tx.put(sandboxes, path, sandbox);
      return sandbox;
    }, options);
  }

  async delete(id: string, options: CallOptions = {}): Promise<void> {
    await this.#scope.database.update((tx) => {
      const path = pathIn(this.#scope, id);
      if (!tx.has(sandboxes, path)) throw notFound(`sandbox ${JSON.stringify(id)}`);
      // Not dirty: what only a sandbox held goes with the next collection that something else brings.
      tx.delete(sandboxes, path);
    }, options);
  }
}

function toSandbox(spec: SandboxSpec, times: Pick<Sandbox, "createdAt" | "updatedAt">): Sandbox {
  const { id, runtime, sandboxer, extensions } = spec;
  const own = spec.spec === undefined ? {} : { spec: spec.spec };
  return { id, labels: storedLabels(spec.labels), runtime, ...own, sandboxer, extensions, ...times };
}

function changeSandbox(current: Sandbox, change: SandboxSpec, fieldpaths: readonly string[]): SandboxSpec {
  if (fieldpaths.length === 0 && change.runtime.name !== current.runtime.name) {
    throw invalidArgument(
      `runtime name of sandbox ${JSON.stringify(current.id)} is immutable: ${current.runtime.name}`,
    );
  }
  let result: SandboxSpec = current;
  for (const path of fieldpaths.length === 0 ? REPLACED_FIELDS : fieldpaths) result = changeField(result, change, path);
  return result;
}

function changeField(target: SandboxSpec, change: SandboxSpec, path: string): SandboxSpec {
  const [name, key] = splitFieldPath(path);
  if (name === "labels") {
    return { ...target, labels: key === undefined ? change.labels : withEntry(target.labels, key, change.labels) };
  }
  if (name === "extensions") {
    return { ...target, extensions: mergeExtensions(target.extensions, change.extensions, key) };
  }
  // A value that is not given is not written, so that what is stored stays.
  if (path === "spec") return change.spec === undefined ? target : { ...target, spec: change.spec };
  if (path === "runtime") return { ...target, runtime: { ...target.runtime, ...change.runtime } };
  throw invalidArgument(`cannot update ${JSON.stringify(path)} field on sandbox ${JSON.stringify(target.id)}`);
}

/** @see containerd core/metadata/sandbox.go, validate */
function validateSandbox({ id, labels }: SandboxSpec): void {
  validateIdentifier(id, "sandbox id");
  validateLabels(labels);
}
