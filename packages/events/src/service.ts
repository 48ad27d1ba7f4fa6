import { setImmediate as turn } from "node:timers/promises";

import type { ServiceImpl } from "@connectrpc/connect";
import type { Envelope } from "@berth/api/containerd/types/event";
import { Events as TtrpcEvents } from "@berth/api/containerd/services/events/ttrpc/v1/events";
import { Events } from "@berth/api/containerd/services/events/v1/events";
import { EnvelopeSchema } from "@berth/api/containerd/types/event";
import type { AnyValue } from "@berth/core/any";
import type { EventEnvelope, EventExchange } from "@berth/core/events";
import { parseNamespace } from "@berth/core/namespaces";
import { fromProtoTimestampNs, toProtoTimestampNs } from "@berth/core/timestamp";
import { invalidArgument } from "@berth/errors";
import { namespaceOf } from "@berth/rpc";
import { create } from "@bufbuild/protobuf";

import { RecentEnvelopes } from "./recent-envelopes.ts";

export { Events, TtrpcEvents };

// containerd lets an event without content pass; it travels as an any without a type.
const NO_EVENT: AnyValue = { typeUrl: "", value: new Uint8Array(0) };

/** This serves `containerd.services.events.v1.Events` over any exchange. */
export function createEventsService(exchange: EventExchange): ServiceImpl<typeof Events> {
  return {
    async publish(request, context) {
      await exchange.publish(namespaceOf(context), request.topic, request.event ?? NO_EVENT, context);
      return {};
    },
    async forward(request, context) {
      await exchange.forward(fromProtoEnvelope(request.envelope), context);
      return {};
    },
    async *subscribe(request, context) {
      const events = exchange.subscribe({ filters: request.filters, signal: context.signal });
      for await (const envelope of events) yield toProtoEnvelope(envelope);
    },
  };
}

/**
 * This serves `containerd.services.events.ttrpc.v1.Events`, where shims deliver their events, over any exchange.
 *
 * A shim that got no answer in time sends an event again, and the daemon may find both when it goes on: one of them is passed on.
 */
export function createTtrpcEventsService(exchange: EventExchange): ServiceImpl<typeof TtrpcEvents> {
  const recent = new RecentEnvelopes();
  return {
    async forward(request, context) {
      // behind the answers to clients that go out in this turn: they wait for them, a shim has other things to do
      await turn();
      const envelope = fromProtoEnvelope(request.envelope);
      if (!recent.note(envelope)) return {};
      try {
        await exchange.forward(envelope, context);
      } catch (error) {
        recent.forget(envelope);
        throw error;
      }
      return {};
    },
  };
}

/** This makes the message of an event. */
export function toProtoEnvelope(envelope: EventEnvelope): Envelope {
  return create(EnvelopeSchema, {
    timestamp: toProtoTimestampNs(envelope.timestampNs),
    namespace: envelope.namespace,
    topic: envelope.topic,
    ...(envelope.event.typeUrl === "" ? {} : { event: envelope.event }),
  });
}

/** This reads the message of an event. @throws invalid_argument - there is none, or its namespace is no identifier */
export function fromProtoEnvelope(envelope: Envelope | undefined): EventEnvelope {
  if (envelope === undefined) throw invalidArgument("envelope is required");
  return {
    timestampNs: fromProtoTimestampNs(envelope.timestamp),
    namespace: parseNamespace(envelope.namespace),
    topic: envelope.topic,
    event: envelope.event ?? NO_EVENT,
  };
}
