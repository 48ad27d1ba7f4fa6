import type { Plugin } from "@berth/plugin-core";
import { definePlugin, one, serviceRegistration } from "@berth/plugin-core";
import { ContentPlugin, GrpcPlugin, MetadataPlugin } from "@berth/plugin-core/types";
import { leaseOf, namespaceOf } from "@berth/rpc";

import { openContentStore } from "./open-content-store.ts";
import { Content, createContentService } from "./service.ts";

/** `content.v1 content`: blobs below the daemon's root. */
export const contentPlugin: Plugin = definePlugin({
  type: ContentPlugin,
  id: "content",
  async init({ rootDir, meta, resources, log }) {
    meta.exports.set("root", rootDir);
    return resources.use(await openContentStore({ root: rootDir, log })).store;
  },
});

/** `grpc.v1 content`: the content of each namespace. */
export const contentServicePlugin: Plugin = definePlugin({
  type: GrpcPlugin,
  id: "content",
  requires: { metadata: one(MetadataPlugin) },
  init: ({ plugins: { metadata } }) => [
    serviceRegistration(
      Content,
      createContentService({
        storeFor: (context) => metadata.namespace(namespaceOf(context), { lease: leaseOf(context) }).content,
      }),
    ),
  ],
});
