import type { AnyValue, CallOptions } from "./any.ts";
import type { ListOptions, UpdateOptions } from "./content.ts";
import type { Labels } from "./labels.ts";

/** The record of a container: all that is needed to start a task from it. Times are milliseconds since 1970. */
export interface Container {
  readonly id: string;
  readonly labels: Labels;
  /** Name of the image, for people; empty for none. */
  readonly image: string;
  readonly runtime: { readonly name: string; readonly options?: AnyValue };
  /** The OCI runtime spec. */
  readonly spec?: AnyValue;
  readonly snapshotter: string;
  readonly snapshotKey: string;
  readonly extensions: ReadonlyMap<string, AnyValue>;
  readonly sandboxId: string;
  readonly createdAt: number;
  readonly updatedAt: number;
}

/** The part of a container that its writer chooses. */
export type ContainerSpec = Omit<Container, "createdAt" | "updatedAt">;

/**
 * Containers of one namespace, by id.
 *
 * @see containerd core/containers/containers.go, Store
 */
export interface ContainerStore {
  /** @throws not_found */
  get(id: string, options?: CallOptions): Promise<Container>;
  /** This lists in order of the id; filter fields are `id`, `runtime.name`, `image`, `labels.*`. */
  list(options?: ListOptions): AsyncIterable<Container>;
  /** @throws already_exists, invalid_argument - id, runtime name, spec or (with a snapshot key) snapshotter is missing or wrong */
  create(container: ContainerSpec, options?: CallOptions): Promise<Container>;
  /**
   * This replaces the record, or the fields named: `labels[.k]`, `extensions[.k]`, `spec`, `image`, `snapshotkey`.
   *
   * @throws not_found
   * @throws invalid_argument - another field path, or without any another runtime name or snapshotter
   */
  update(container: ContainerSpec, options?: UpdateOptions): Promise<Container>;
  /** @throws not_found */
  delete(id: string, options?: CallOptions): Promise<void>;
}
