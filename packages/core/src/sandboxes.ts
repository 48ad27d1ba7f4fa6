import type { AnyValue, CallOptions } from "./any.ts";
import type { ListOptions, UpdateOptions } from "./content.ts";
import type { Labels } from "./labels.ts";

/** The record of a sandbox: what its controller needs to know. Times are milliseconds since 1970. */
export interface Sandbox {
  readonly id: string;
  readonly labels: Labels;
  readonly runtime: { readonly name: string; readonly options?: AnyValue };
  readonly spec?: AnyValue;
  /** Name of the controller, empty for the default one. */
  readonly sandboxer: string;
  readonly extensions: ReadonlyMap<string, AnyValue>;
  readonly createdAt: number;
  readonly updatedAt: number;
}

/** The part of a sandbox that its writer chooses. */
export type SandboxSpec = Omit<Sandbox, "createdAt" | "updatedAt">;

/**
 * Sandboxes of one namespace, by id. What their labels refer to is kept from the garbage collector; they themselves only go
 * when they are deleted.
 *
 * @see containerd core/sandbox/store.go, Store
 */
export interface SandboxStore {
  /** @throws not_found */
  get(id: string, options?: CallOptions): Promise<Sandbox>;
  /** This lists in order of the id; filter fields are `id` and `labels.*`. */
  list(options?: ListOptions): AsyncIterable<Sandbox>;
  /** @throws already_exists, invalid_argument - the id is no identifier, or a label is too long */
  create(sandbox: SandboxSpec, options?: CallOptions): Promise<Sandbox>;
  /**
   * This replaces `labels`, `extensions`, `spec` and `runtime`, or the fields named: those, `labels.<key>`, `extensions.<key>`.
   * Extensions are only ever added to, and neither the spec nor the options of the runtime can be taken away.
   *
   * @throws not_found
   * @throws invalid_argument - another field path, or without any another runtime name
   */
  update(sandbox: SandboxSpec, options?: UpdateOptions): Promise<Sandbox>;
  /** @throws not_found */
  delete(id: string, options?: CallOptions): Promise<void>;
}
