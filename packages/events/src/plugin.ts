import { Events } from "@berth/api/containerd/services/events/v1/events";
import { Events as TtrpcEvents } from "@berth/api/containerd/services/events/ttrpc/v1/events";
import { definePlugin, one, serviceRegistration } from "@berth/plugin-core";
import { EventPlugin, GrpcPlugin, TtrpcPlugin } from "@berth/plugin-core/types";

import { createEventExchange } from "./event-exchange.ts";
import { createEventsService, createTtrpcEventsService } from "./service.ts";

/** `io.containerd.event.v1.exchange`: the events of the daemon. */
export const exchangePlugin = definePlugin({
  type: EventPlugin,
  id: "exchange",
  init: ({ log }) => createEventExchange({ log }),
});

/** `io.containerd.grpc.v1.events`: publish, forward and subscribe for clients. */
export const eventsServicePlugin = definePlugin({
  type: GrpcPlugin,
  id: "events",
  requires: { exchange: one(EventPlugin) },
  init: ({ plugins }) => [serviceRegistration(Events, createEventsService(plugins.exchange))],
});

/** `io.containerd.ttrpc.v1.events`: forward, for shims. */
export const ttrpcEventsServicePlugin = definePlugin({
  type: TtrpcPlugin,
  id: "events",
  requires: { exchange: one(EventPlugin) },
  init: ({ plugins }) => [serviceRegistration(TtrpcEvents, createTtrpcEventsService(plugins.exchange))],
});
