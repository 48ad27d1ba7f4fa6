import type { EventEnvelope, EventExchange } from "@berth/core/events";
import type { Logger } from "@berth/core/log";
import { silentLogger } from "@berth/core/log";
import { parseNamespace } from "@berth/core/namespaces";
import { nowNs } from "@berth/core/timestamp";
import { invalidArgument } from "@berth/errors";
import { type Adaptor, type Filter, parseFilters } from "@berth/filters";

import { EventFields } from "./event-fields.ts";
import { Subscription } from "./subscription.ts";
import { validateTopic } from "./topic.ts";

/** Options of {@link createEventExchange}. */
export interface EventExchangeOptions {
  readonly log?: Logger;
  /** The most events that wait for one subscriber; 65,536 by default. */
  readonly maxQueued?: number;
  /** The most bytes of events that wait for one subscriber; 64 MiB by default. */
  readonly maxQueuedBytes?: number;
}

/**
 * This makes an exchange in memory. Publishing never waits for a subscriber: one that falls too far behind is ended with
 * resource_exhausted, while containerd lets its queue grow without limit.
 */
export function createEventExchange(options: EventExchangeOptions = {}): EventExchange {
  const log = options.log ?? silentLogger;
  const limits = { maxQueued: options.maxQueued ?? 65_536, maxQueuedBytes: options.maxQueuedBytes ?? 64 * 1024 * 1024 };
  const subscribers = new Map<Subscription, Filter>();

  const send = (envelope: EventEnvelope): void => {
    log.trace("event published", {
      topic: envelope.topic,
      namespace: envelope.namespace,
      type: envelope.event.typeUrl,
    });
    const fields = envelopeFields(envelope);
    for (const [subscription, filter] of subscribers) {
      if (filter.matches(fields)) subscription.push(envelope);
    }
  };

  return {
    publish: async (namespace, topic, event) => {
      parseNamespace(namespace);
      validateTopic(topic);
      send({ timestampNs: nowNs(), namespace, topic, event });
    },
    forward: async (envelope) => {
      parseNamespace(envelope.namespace);
      validateTopic(envelope.topic);
      if (envelope.timestampNs <= 0n) throw invalidArgument(`timestamp of event ${envelope.topic} must be set`);
      send(envelope);
    },
    subscribe: ({ filters = [], signal } = {}) => {
      const filter = parseFilters(filters);
      const subscription = new Subscription(limits, signal, (ended) => subscribers.delete(ended));
      if (signal?.aborted !== true) subscribers.set(subscription, filter);
      return subscription;
    },
  };
}

function envelopeFields(envelope: EventEnvelope): Adaptor {
  let event: EventFields | undefined;
  return {
    field([name, ...rest]) {
      if (name === "namespace") return rest.length === 0 ? envelope.namespace : undefined;
      if (name === "topic") return rest.length === 0 ? envelope.topic : undefined;
      if (name !== "event") return undefined;
      event ??= new EventFields(envelope.event);
      return event.find(rest);
    },
  };
}
