import type { EventEnvelope } from "@berth/core/events";
import { resourceExhausted } from "@berth/errors";

/** How much a subscriber may fall behind. */
export interface QueueLimits {
  readonly maxQueued: number;
  readonly maxQueuedBytes: number;
}

// What an event costs beside its bytes: the envelope object and its texts.
const ENVELOPE_BYTES = 200;

type Waiter = PromiseWithResolvers<IteratorResult<EventEnvelope>>;

/**
 * The queue between the exchange and one reader. The exchange never waits for it: what does not fit ends the subscription.
 *
 * Owned by its reader, who ends it with `return`, its signal, or by reading to the end.
 */
export class Subscription implements AsyncIterableIterator<EventEnvelope> {
  readonly #limits: QueueLimits;
  readonly #onEnd: (subscription: Subscription) => void;
  readonly #signal: AbortSignal | undefined;
  #queue: EventEnvelope[] = [];
  #head = 0;
  #bytes = 0;
  #waiters: Waiter[] = [];
  #ended = false;
  #failure: Error | undefined;

  constructor(limits: QueueLimits, signal: AbortSignal | undefined, onEnd: (subscription: Subscription) => void) {
    this.#limits = limits;
    this.#onEnd = onEnd;
    this.#signal = signal;
    signal?.addEventListener("abort", this.#abort, { once: true });
    if (signal?.aborted) this.#abort();
  }

  /** This hands an event to the reader, or keeps it for the next read. */
  push(envelope: EventEnvelope): void {
    if (this.#ended) return;
    const waiter = this.#waiters.shift();
    if (waiter !== undefined) {
      waiter.resolve({ done: false, value: envelope });
      return;
    }
    this.#queue.push(envelope);
    this.#bytes += sizeOf(envelope);
    const queued = this.#queue.length - this.#head;
    if (queued <= this.#limits.maxQueued && this.#bytes <= this.#limits.maxQueuedBytes) return;
    this.#failure = resourceExhausted(`subscriber is ${queued} events (${this.#bytes} bytes) behind`);
    this.#end();
  }

  next(): Promise<IteratorResult<EventEnvelope>> {
    const value = this.#take();
    if (value !== undefined) return Promise.resolve({ done: false, value });
    if (this.#failure !== undefined) {
      const failure = this.#failure;
      this.#failure = undefined;
      return Promise.reject(failure);
    }
    if (this.#ended) return Promise.resolve({ done: true, value: undefined });
    const waiter: Waiter = Promise.withResolvers();
    this.#waiters.push(waiter);
    return waiter.promise;
  }

  return(): Promise<IteratorResult<EventEnvelope>> {
    this.#failure = undefined;
    this.#end();
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  readonly #abort = (): void => this.#end();

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#queue = [];
    this.#head = 0;
    this.#bytes = 0;
    this.#signal?.removeEventListener("abort", this.#abort);
    this.#onEnd(this);
    for (const waiter of this.#waiters) waiter.resolve({ done: true, value: undefined });
    this.#waiters = [];
  }

  #take(): EventEnvelope | undefined {
    const value = this.#queue[this.#head];
    if (value === undefined) return undefined;
    this.#head++;
    this.#bytes -= sizeOf(value);
    // Shifting an array moves all of it; dropping the read half now and then costs a constant per event.
    if (this.#head > 1024 && this.#head * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head);
      this.#head = 0;
    }
    return value;
  }
}

function sizeOf({ event }: EventEnvelope): number {
  return ENVELOPE_BYTES + event.value.length;
}
