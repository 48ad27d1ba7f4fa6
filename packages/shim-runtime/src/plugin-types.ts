import type { PluginType } from "@berth/plugin-core";

import type { ShimContext } from "./define-shim.ts";

// Plain values: importing more than types would load the plugin graph into each `start`.

/** Sends events to the daemon; see {@link ShimContext.publish}. */
export type EventPublisher = Pick<ShimContext, "publish">;

/** In a shim: the publisher, id `publisher`. */
export const EventPublisherPlugin: PluginType<EventPublisher> = { name: "io.containerd.event.v1" };
/** In a shim: what its tasks are given, for its plugins, id `shim`. */
export const ShimPlugin: PluginType<ShimContext> = { name: "io.containerd.internal.v1" };
