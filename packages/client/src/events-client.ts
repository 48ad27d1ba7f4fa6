import type { Client, Transport } from "@connectrpc/connect";
import { Events } from "@berth/api/containerd/services/events/v1/events";
import type { Envelope } from "@berth/api/containerd/types/event";
import type { AnyValue, CallOptions } from "@berth/core/any";
import type { ListOptions } from "@berth/core/content";
import type { EventEnvelope, EventExchange } from "@berth/core/events";
import type { Namespace } from "@berth/core/namespaces";
import { parseNamespace } from "@berth/core/namespaces";
import { fromProtoTimestampNs, toProtoTimestampNs } from "@berth/core/timestamp";
import { createClient } from "@berth/rpc/client";

import { callOptions } from "./call-options.ts";
import { fromProtoAny, present, toProtoAny } from "./wire-values.ts";

/**
 * This makes an event exchange of the one that answers over `transport`.
 *
 * A subscription is asked for at once, but the peer does not say when it has begun: an event that another call causes
 * right after `subscribe` may be missed. A bad filter is told by the iterator, not by `subscribe`.
 */
export function createEventsClient(transport: Transport): EventExchange {
  return new RemoteEventExchange(createClient(Events, transport));
}

class RemoteEventExchange implements EventExchange {
  readonly #client: Client<typeof Events>;

  constructor(client: Client<typeof Events>) {
    this.#client = client;
  }

  async publish(namespace: Namespace, topic: string, event: AnyValue, options?: CallOptions): Promise<void> {
    await this.#client.publish({ topic, event: toProtoAny(event) }, callOptions(options, namespace));
  }

  async forward(envelope: EventEnvelope, options?: CallOptions): Promise<void> {
    const { timestampNs, namespace, topic, event } = envelope;
    const wire = { timestamp: toProtoTimestampNs(timestampNs), namespace, topic, event: toProtoAny(event) };
    await this.#client.forward({ envelope: wire }, callOptions(options, namespace));
  }

  subscribe(options?: ListOptions): AsyncIterable<EventEnvelope> {
    const cancel = new AbortController();
    const signal = options?.signal === undefined ? cancel.signal : AbortSignal.any([options.signal, cancel.signal]);
    const request = { filters: [...(options?.filters ?? [])] };
    const envelopes = this.#client.subscribe(request, { signal })[Symbol.asyncIterator]();
    return new Subscription(envelopes, () => cancel.abort());
  }
}

/** One subscription; iterating it twice continues the same one. */
class Subscription implements AsyncIterableIterator<EventEnvelope, void> {
  readonly #envelopes: AsyncIterator<Envelope>;
  readonly #cancel: () => void;
  #first: Promise<IteratorResult<Envelope>> | undefined;
  #hasEnded = false;

  constructor(envelopes: AsyncIterator<Envelope>, cancel: () => void) {
    this.#envelopes = envelopes;
    this.#cancel = cancel;
    // Asking for the first event sends the request now; whoever never reads must not cause an unhandled rejection.
    this.#first = envelopes.next();
    this.#first.catch(() => {});
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<IteratorResult<EventEnvelope, void>> {
    const pending = this.#first ?? this.#envelopes.next();
    this.#first = undefined;
    try {
      const { done, value } = await pending;
      return done === true ? { done, value: undefined } : { done: false, value: fromProtoEnvelope(value) };
    } catch (error) {
      if (!this.#hasEnded) throw error;
      return { done: true, value: undefined };
    }
  }

  /** This ends it, also for whoever waits for an event. */
  async return(): Promise<IteratorResult<EventEnvelope, void>> {
    this.#hasEnded = true;
    this.#cancel();
    return { done: true, value: undefined };
  }
}

function fromProtoEnvelope(envelope: Envelope): EventEnvelope {
  return {
    timestampNs: fromProtoTimestampNs(envelope.timestamp),
    namespace: parseNamespace(envelope.namespace),
    topic: envelope.topic,
    event: fromProtoAny(present(envelope.event, "event")),
  };
}
