import type { AnyValue, CallOptions } from "./any.ts";
import type { ListOptions } from "./content.ts";
import type { Namespace } from "./namespaces.ts";

/** An event on its way: where, when and what. `timestampNs` is nanoseconds since 1970. */
export interface EventEnvelope {
  readonly timestampNs: bigint;
  readonly namespace: Namespace;
  readonly topic: string;
  readonly event: AnyValue;
}

/** Sends events of this process: the time is stamped here. */
export interface EventPublisher {
  /** @throws invalid_argument - topic is not `/` and identifiers joined by `/` */
  publish(namespace: Namespace, topic: string, event: AnyValue, options?: CallOptions): Promise<void>;
}

/**
 * All events of the daemon. Nothing is kept: who subscribes late has missed it.
 *
 * @see containerd core/events/exchange
 */
export interface EventExchange extends EventPublisher {
  /** This passes on an event made elsewhere, unchanged. @throws invalid_argument - topic, namespace or time is missing or wrong */
  forward(envelope: EventEnvelope, options?: CallOptions): Promise<void>;
  /**
   * This yields every event from now on that matches any of the filters (fields `namespace`, `topic`, `event.*`), in order.
   * The subscription begins with this call, not with the first read, and ends with the signal or when the iterator returns.
   *
   * @throws invalid_argument - at once, for a bad filter
   * @throws resource_exhausted - from the iterator, when the reader fell too far behind; the subscription is over
   */
  subscribe(options?: ListOptions): AsyncIterable<EventEnvelope>;
}
