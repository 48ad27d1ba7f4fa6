import { setImmediate as turn, setTimeout as sleep } from "node:timers/promises";

import { create, type DescMessage, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { timestampNow } from "@bufbuild/protobuf/wkt";
import { type Client, createClient } from "@connectrpc/connect";
import { type Envelope, EnvelopeSchema } from "@berth/api/containerd/types/event";
import { Events } from "@berth/api/containerd/services/events/ttrpc/v1/events";
import type { Logger } from "@berth/core/log";
import { messageOf } from "@berth/errors";
import { createTtrpcTransport, TTRPC_NAMESPACE_KEY, type TtrpcTransport } from "@berth/ttrpc";

import { LaneQueue } from "./lane-queue.ts";

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
 * Sends events to the daemon: those of one container in the order they were published, those of others beside them, so that
 * one which keeps failing delays its own container alone.
 *
 * One that does not arrive is sent again after 1, 2, 3, 4 and 5 s, and then given up. At most 2,048 are kept: then the oldest is dropped
 * of the container that has most of them.
 */
export class Publisher implements AsyncDisposable {
  readonly #options: PublisherOptions;
  readonly #stop = new AbortController();
  readonly #queue: LaneQueue<Envelope>;
  #count = 0;
  #connection: { readonly transport: TtrpcTransport; readonly client: Client<typeof Events> } | undefined;

  constructor(options: PublisherOptions) {
    this.#options = options;
    this.#queue = new LaneQueue({
      limit: QUEUE_LIMIT,
      process: (envelope) => this.#deliver(envelope),
      onDrop: (envelope) => this.#dropped(envelope, "queue is full"),
    });
  }

  /** This queues an event and returns at once. */
  publish<D extends DescMessage>(topic: string, schema: D, event: MessageInitShape<D>): void {
    if (this.#options.address === "" || this.#stop.signal.aborted) return;
    const value = toBinary(schema, create(schema, event));
    const any = { typeUrl: schema.typeName, value };
    const { namespace } = this.#options;
    const timestamp = timestampNow();
    // below the milliseconds of the clock no two are equal: the daemon tells by it what is sent again from what happened again
    timestamp.nanos += this.#count++ % 1_000_000;
    const envelope = create(EnvelopeSchema, { topic, namespace, timestamp, event: any });
    this.#queue.push(laneOf(event), envelope);
  }

  /** This waits until every event is sent or given up, for `timeoutMs` at most. */
  async flush(timeoutMs: number): Promise<void> {
    await Promise.race([this.#queue.idle(), sleep(timeoutMs, undefined, { ref: false })]);
  }

  /** This waits 5 s at most for what is queued and drops the rest. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#stop.signal.aborted) await this.flush(CALL_TIMEOUT_MS);
    this.#stop.abort();
    await this.#queue.idle();
    await this.#connection?.transport[Symbol.asyncDispose]();
    this.#connection = undefined;
  }

  get #client(): Client<typeof Events> {
    if (!this.#connection) {
      const { address: path, namespace } = this.#options;
      const metadata = { [TTRPC_NAMESPACE_KEY]: namespace };
      const transport = createTtrpcTransport({ path, reconnect: true, metadata });
      this.#connection = { transport, client: createClient(Events, transport) };
    }
    return this.#connection.client;
  }

  async #deliver(envelope: Envelope): Promise<void> {
    // Behind the answer that goes out in this turn: a caller waits for that, and the daemon takes one thing after the other.
    await turn();
    for (let failures = 0; !this.#stop.signal.aborted;) {
      try {
        await this.#client.forward({ envelope }, { timeoutMs: CALL_TIMEOUT_MS, signal: this.#stop.signal });
        return;
      } catch (error) {
        failures += 1;
        if (failures > REQUEUES) {
          this.#dropped(envelope, messageOf(error));
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

  #dropped(envelope: Envelope, error: string): void {
    this.#options.log.error("event dropped", { topic: envelope.topic, error });
  }
}

/** Events of the daemon's own types name their container; what names none keeps the order among its like. */
function laneOf(event: object): string {
  const id: unknown = Reflect.get(event, "containerId");
  return typeof id === "string" ? id : "";
}
