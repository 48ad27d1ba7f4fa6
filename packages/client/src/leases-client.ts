import type { Client, Transport } from "@connectrpc/connect";
import type { Lease as WireLease } from "@berth/api/containerd/services/leases/v1/leases";
import { Leases } from "@berth/api/containerd/services/leases/v1/leases";
import type { CallOptions } from "@berth/core/any";
import type { ListOptions } from "@berth/core/content";
import type { DeleteOptions } from "@berth/core/images";
import type { Labels } from "@berth/core/labels";
import { fromProtoLabels, toProtoLabels } from "@berth/core/labels";
import type { Lease, LeaseManager, LeaseResource } from "@berth/core/leases";
import { fromProtoTimestamp } from "@berth/core/timestamp";
import { createClient } from "@berth/rpc/client";

import { callOptions } from "./call-options.ts";
import { present } from "./wire-values.ts";

/** This makes a lease manager of the one that answers over `transport`. An empty id lets the peer choose one. */
export function createLeasesClient(transport: Transport): LeaseManager {
  return new RemoteLeaseManager(createClient(Leases, transport));
}

class RemoteLeaseManager implements LeaseManager {
  readonly #client: Client<typeof Leases>;

  constructor(client: Client<typeof Leases>) {
    this.#client = client;
  }

  async create(lease: { readonly id: string; readonly labels: Labels }, options?: CallOptions): Promise<Lease> {
    const request = { id: lease.id, labels: toProtoLabels(lease.labels) };
    const answer = await this.#client.create(request, callOptions(options));
    return fromProtoLease(present(answer.lease, "lease"));
  }

  async delete(id: string, options?: DeleteOptions): Promise<void> {
    await this.#client.delete({ id, sync: options?.sync ?? false }, callOptions(options));
  }

  async *list(options?: ListOptions): AsyncIterable<Lease> {
    const { leases } = await this.#client.list({ filters: [...(options?.filters ?? [])] }, callOptions(options));
    yield* leases.map(fromProtoLease);
  }

  async addResource(id: string, resource: LeaseResource, options?: CallOptions): Promise<void> {
    await this.#client.addResource({ id, resource: { id: resource.id, type: resource.type } }, callOptions(options));
  }

  async deleteResource(id: string, resource: LeaseResource, options?: CallOptions): Promise<void> {
    await this.#client.deleteResource({ id, resource: { id: resource.id, type: resource.type } }, callOptions(options));
  }

  async *listResources(id: string, options?: CallOptions): AsyncIterable<LeaseResource> {
    const { resources } = await this.#client.listResources({ id }, callOptions(options));
    for (const resource of resources) yield { id: resource.id, type: resource.type };
  }
}

function fromProtoLease(lease: WireLease): Lease {
  return {
    id: lease.id,
    createdAt: fromProtoTimestamp(lease.createdAt),
    labels: fromProtoLabels(lease.labels),
  };
}
