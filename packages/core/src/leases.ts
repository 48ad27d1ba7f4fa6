import type { CallOptions } from "./any.ts";
import type { ListOptions } from "./content.ts";
import type { DeleteOptions } from "./images.ts";
import type { Labels } from "./labels.ts";

/** Keeps what was added to it from the garbage collector, until it is deleted or expires. */
export interface Lease {
  readonly id: string;
  readonly createdAt: number;
  readonly labels: Labels;
}

/** A thing held by a lease; `type` is `content`, `ingests`, `images` or `snapshots/<snapshotter>`. */
export interface LeaseResource {
  readonly id: string;
  readonly type: string;
}

/** Labels of leases with a meaning to the garbage collector. */
export const LeaseLabel = {
  /** RFC 3339 time after which the lease no longer holds. */
  expire: "containerd.io/gc.expire",
  /** Hold only what is named, not what that refers to. */
  flat: "containerd.io/gc.flat",
} as const;

/**
 * Leases of one namespace.
 *
 * @see containerd core/leases/lease.go, Manager
 */
export interface LeaseManager {
  /** @throws already_exists, invalid_argument */
  create(lease: { readonly id: string; readonly labels: Labels }, options?: CallOptions): Promise<Lease>;
  /** @throws not_found */
  delete(id: string, options?: DeleteOptions): Promise<void>;
  /** This lists leases; filter fields are `id` and `labels.*`. */
  list(options?: ListOptions): AsyncIterable<Lease>;
  /** This adds a resource, which need not exist. @throws not_found, invalid_argument, unimplemented - unknown type */
  addResource(id: string, resource: LeaseResource, options?: CallOptions): Promise<void>;
  /** @throws not_found, invalid_argument, unimplemented */
  deleteResource(id: string, resource: LeaseResource, options?: CallOptions): Promise<void>;
  /** @throws not_found */
  listResources(id: string, options?: CallOptions): AsyncIterable<LeaseResource>;
}
