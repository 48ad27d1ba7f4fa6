import { setTimeout as sleep } from "node:timers/promises";

import { create, type DescMessage, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { timestampNow } from "@bufbuild/protobuf/wkt";
import { createClient } from "@connectrpc/connect";
import { type Envelope, EnvelopeSchema } from "@berth/api/containerd/types/event";
import { Events } from "@berth/api/containerd/services/events/ttrpc/v1/events";
import type { Logger } from "@berth/core/log";
import { messageOf } from "@berth/errors";
import { createTtrpcTransport, TTRPC_NAMESPACE_KEY } from "@berth/ttrpc";

const QUEUE_LIMIT = 2048;
const REQUEUES = 5;
const PAUSE_MS = 1000;
const CALL_TIMEOUT_MS = 5000;

/** Where events go. */
export interface PublisherOptions {
  /** ttrpc address of the daemon; empty: events are dropped. */
  readonly address: string;
  readonly namespace: string;
  readonly log: Logger;
}

/**
 * Sends events to the daemon in the order they were published.
 *
 * One that does not arrive is sent again after 1, 2, 3, 4 and 5 s, and then given up; the ones behind it wait. At most
 * 2,048 wait: then the oldest is dropped.
 */
export class Publisher implements AsyncDisposable {
  readonly #options: PublisherOptions;
  readonly #queue: Envelope[] = [];
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;

  constructor(options: PublisherOptions) {
    this.#options = options;
  }

  /** This queues an event and returns at once. */
  publish<D extends DescMessage>(topic: string, schema: D, event: MessageInitShape<D>): void {
    if (this.#options.address === "" || this.#stop.signal.aborted) return;
    const value = toBinary(schema, create(schema, event));
    const any = { typeUrl: schema.typeName, value };
    const { namespace } = this.#options;
    this.#queue.push(create(EnvelopeSchema, { topic, namespace, timestamp: timestampNow(), event: any }));
    if (this.#queue.length > QUEUE_LIMIT) this.#drop(this.#queue.shift(), "queue is full");
    this.#running ??= this.#run();
  }

  /** This waits until every event is sent or given up, for `timeoutMs` at most. */
  async flush(timeoutMs: number): Promise<void> {
    await Promise.race([this.#running, sleep(timeoutMs, undefined, { ref: false })]);
  }

  /** This waits 5 s at most for what is queued and drops the rest. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#stop.signal.aborted) await this.flush(CALL_TIMEOUT_MS);
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { address: path, namespace } = this.#options;
    await using transport = createTtrpcTransport({
      path,
      reconnect: true,
      metadata: { [TTRPC_NAMESPACE_KEY]: namespace },
    });
    const client = createClient(Events, transport);
    for (let envelope = this.#queue[0]; envelope && !this.#stop.signal.aborted; envelope = this.#queue[0]) {
      const sending = envelope;
      await this.#deliver(sending, async () => {
        await client.forward({ envelope: sending }, { timeoutMs: CALL_TIMEOUT_MS, signal: this.#stop.signal });
      });
      // the queue may have dropped it meanwhile
      if (this.#queue[0] === sending) this.#queue.shift();
    }
    this.#running = undefined;
  }

  async #deliver(envelope: Envelope, send: () => Promise<void>): Promise<void> {
    for (let failures = 0; !this.#stop.signal.aborted;) {
      try {
        await send();
        return;
      } catch (error) {
        failures += 1;
        if (failures > REQUEUES) {
          this.#drop(envelope, messageOf(error));
          return;
        }
      }
      await this.#pause(failures * PAUSE_MS);
    }
  }

  async #pause(ms: number): Promise<void> {
    try {
      await sleep(ms, undefined, { signal: this.#stop.signal });
    } catch {
      // stopped: the loop sees it
    }
  }

  #drop(envelope: Envelope | undefined, error: string): void {
    this.#options.log.error("event dropped", { topic: envelope?.topic, error });
  }
}
