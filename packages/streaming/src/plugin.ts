import { definePlugin, one, serviceRegistration } from "@berth/plugin-core";
import { GrpcPlugin, MetadataPlugin, StreamingPlugin } from "@berth/plugin-core/types";

import { createStreamingService, Streaming } from "./service.ts";
import { LocalStreamManager } from "./stream-manager.ts";

/** `io.containerd.streaming.v1.manager`: streams by id, collected with their leases. */
export const streamManagerPlugin = definePlugin({
  type: StreamingPlugin,
  id: "manager",
  requires: { metadata: one(MetadataPlugin) },
  init: ({ plugins: { metadata }, resources }) => {
    const streams = new LocalStreamManager();
    resources.use(metadata.registerCollector(streams.collector));
    return streams;
  },
});

/** `io.containerd.grpc.v1.streaming`. */
export const streamingServicePlugin = definePlugin({
  type: GrpcPlugin,
  id: "streaming",
  requires: { streams: one(StreamingPlugin) },
  init: ({ plugins }) => [serviceRegistration(Streaming, createStreamingService(plugins))],
});
