import { randomBytes } from "node:crypto";

import { create } from "@bufbuild/protobuf";
import type { ServiceImpl } from "@connectrpc/connect";
import type { Leases, Lease as ProtoLease, Resource } from "@berth/api/containerd/services/leases/v1/leases";
import { LeaseSchema } from "@berth/api/containerd/services/leases/v1/leases";
import { fromProtoLabels, toProtoLabels } from "@berth/core/labels";
import type { Lease, LeaseResource } from "@berth/core/leases";
import { toProtoTimestamp } from "@berth/core/timestamp";
import { invalidArgument } from "@berth/errors";

import type { StoresOf } from "./scope.ts";

/** This serves `containerd.services.leases.v1.Leases` over any lease manager. A lease made without an id gets a random one. */
export function createLeasesService(storesOf: StoresOf): ServiceImpl<typeof Leases> {
  return {
    async create({ id, labels }, context) {
      const lease = { id: id === "" ? randomLeaseId() : id, labels: fromProtoLabels(labels) };
      const created = await storesOf(context).leases.create(lease, { signal: context.signal });
      return { lease: toProtoLease(created) };
    },
    async delete({ id, sync }, context) {
      await storesOf(context).leases.delete(id, { sync, signal: context.signal });
      return {};
    },
    async list({ filters }, context) {
      const leases: ProtoLease[] = [];
      const listed = storesOf(context).leases.list({ filters, signal: context.signal });
      for await (const lease of listed) leases.push(toProtoLease(lease));
      return { leases };
    },
    async addResource({ id, resource }, context) {
      await storesOf(context).leases.addResource(id, fromProtoResource(resource), { signal: context.signal });
      return {};
    },
    async deleteResource({ id, resource }, context) {
      await storesOf(context).leases.deleteResource(id, fromProtoResource(resource), { signal: context.signal });
      return {};
    },
    async listResources({ id }, context) {
      const resources = storesOf(context).leases.listResources(id, { signal: context.signal });
      return { resources: await Array.fromAsync(resources) };
    },
  };
}

/** This makes the message of a lease. */
function toProtoLease({ id, labels, createdAt }: Lease): ProtoLease {
  return create(LeaseSchema, { id, labels: toProtoLabels(labels), createdAt: toProtoTimestamp(createdAt) });
}

function fromProtoResource(resource: Resource | undefined): LeaseResource {
  if (resource === undefined) throw invalidArgument("lease resource must be given");
  return { id: resource.id, type: resource.type };
}

function randomLeaseId(): string {
  return `${Date.now()}-${randomBytes(6).toString("hex")}`;
}
