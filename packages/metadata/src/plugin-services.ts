import type { MetadataStore } from "@berth/core/metadata";
import type { Plugin } from "@berth/plugin-core";
import { definePlugin, one, serviceRegistration } from "@berth/plugin-core";
import { GrpcPlugin, LeasePlugin, MetadataPlugin, SandboxStorePlugin } from "@berth/plugin-core/types";
import { leaseOf, namespaceOf } from "@berth/rpc";

import type { StoresOf } from "./service.ts";
import {
  Containers,
  createContainersService,
  createImagesService,
  createLeasesService,
  createNamespacesService,
  createSandboxStoreService,
  Images,
  Leases,
  Namespaces,
  SandboxStoreService,
} from "./service.ts";

const requires = { metadata: one(MetadataPlugin) };

function storesOf(store: MetadataStore): StoresOf {
  return (context) => store.namespace(namespaceOf(context), { lease: leaseOf(context) });
}

/** `lease.v1 manager`: the leases of each namespace, for other plugins. */
export const leasePlugin: Plugin = definePlugin({
  type: LeasePlugin,
  id: "manager",
  requires,
  init:
    ({ plugins }) =>
    (namespace) =>
      plugins.metadata.namespace(namespace).leases,
});

/** `grpc.v1 containers` */
export const containersServicePlugin: Plugin = definePlugin({
  type: GrpcPlugin,
  id: "containers",
  requires,
  init: ({ plugins }) => [serviceRegistration(Containers, createContainersService(storesOf(plugins.metadata)))],
});

/** `grpc.v1 images` */
export const imagesServicePlugin: Plugin = definePlugin({
  type: GrpcPlugin,
  id: "images",
  requires,
  init: ({ plugins }) => [serviceRegistration(Images, createImagesService(storesOf(plugins.metadata)))],
});

/** `grpc.v1 leases` */
export const leasesServicePlugin: Plugin = definePlugin({
  type: GrpcPlugin,
  id: "leases",
  requires,
  init: ({ plugins }) => [serviceRegistration(Leases, createLeasesService(storesOf(plugins.metadata)))],
});

/** `grpc.v1 namespaces` */
export const namespacesServicePlugin: Plugin = definePlugin({
  type: GrpcPlugin,
  id: "namespaces",
  requires,
  init: ({ plugins }) => [serviceRegistration(Namespaces, createNamespacesService(plugins.metadata.namespaces))],
});

/** `sandbox.store.v1 local`: the records of sandboxes of each namespace, for other plugins. */
export const sandboxStorePlugin: Plugin = definePlugin({
  type: SandboxStorePlugin,
  id: "local",
  requires,
  init:
    ({ plugins }) =>
    (namespace) =>
      plugins.metadata.namespace(namespace).sandboxes,
});

/** `grpc.v1 sandboxes` */
export const sandboxesServicePlugin: Plugin = definePlugin({
  type: GrpcPlugin,
  id: "sandboxes",
  requires: { sandboxes: one(SandboxStorePlugin) },
  init: ({ plugins: { sandboxes } }) => [
    serviceRegistration(
      SandboxStoreService,
      createSandboxStoreService((context) => sandboxes(namespaceOf(context))),
    ),
  ],
});
