import { randomUUID } from "node:crypto";

import { StreamInitSchema, Streaming } from "@berth/api/containerd/services/streaming/v1/streaming";
import type { AnyValue, CallOptions } from "@berth/core/any";
import { packMessage } from "@berth/core/messages";
import { unavailable } from "@berth/errors";
import type { Transport } from "@connectrpc/connect";
import { createClient } from "@connectrpc/connect";

import { MessageQueue } from "./message-queue.ts";
import { fromProtoAny } from "./wire-values.ts";

/** A stream of the daemon, from its client's side. Disposing it leaves the stream. */
export interface OpenStream extends Disposable {
  /** By which requests name it. */
  readonly id: string;
  send(message: AnyValue): void;
  /** This tells the daemon that nothing follows; it may still send. */
  end(): void;
  /** The messages of the daemon, to its end of the stream. */
  readonly messages: AsyncIterable<AnyValue>;
}

/** This opens a stream, for requests that name one. The signal ends it, whenever. @throws unavailable - the daemon ends it at once */
export async function openStream(transport: Transport, options: CallOptions): Promise<OpenStream> {
  const id = randomUUID();
  const queue = new MessageQueue<AnyValue>();
  const leaving = new AbortController();
  queue.push(packMessage(StreamInitSchema, { id }));
  const signal = options.signal === undefined ? leaving.signal : AbortSignal.any([options.signal, leaving.signal]);
  const answers = createClient(Streaming, transport).stream(queue, { signal })[Symbol.asyncIterator]();
  if ((await answers.next()).done === true) throw unavailable(`stream ${id} ended before it began`);
  async function* messages(): AsyncGenerator<AnyValue, void> {
    for (let next = await answers.next(); next.done !== true; next = await answers.next())
      yield fromProtoAny(next.value);
  }
  return {
    id,
    send: (message) => queue.push(message),
    end: () => queue.end(),
    messages: messages(),
    [Symbol.dispose]: () => {
      queue.end();
      leaving.abort();
    },
  };
}
