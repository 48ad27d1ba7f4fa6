import type { DescMessage, DescMethodStreaming, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { ResponseSchema } from "@berth/api/ttrpc/ttrpc";
import type { StreamResponse } from "@connectrpc/connect";
import { canceled, internal, toConnectError, unimplemented } from "@berth/errors";

import type { Frame } from "../wire/frame.ts";
import { Flag, MessageType } from "../wire/frame.ts";
import { decodeMessage, encodeMessage } from "../wire/message.ts";
import { MessageQueue } from "../wire/message-queue.ts";
import { fromProtoStatus } from "../wire/status.ts";
import type { ClientConnection } from "./client-connection.ts";
import { watchLimits } from "./watch-limits.ts";
import type { CallPlan } from "./unary-call.ts";

const NOTHING = new Uint8Array(0);

/** This makes a streaming call; it resolves when the request is sent, since ttrpc servers announce nothing. */
export async function callStream<I extends DescMessage, O extends DescMessage>(
  plan: CallPlan<DescMethodStreaming<I, O>>,
  input: AsyncIterable<MessageInitShape<I>>,
): Promise<StreamResponse<I, O>> {
  const { method } = plan;
  const iterator = input[Symbol.asyncIterator]();
  const payload = method.methodKind === "server_streaming" ? await onlyMessage(method, iterator) : NOTHING;
  const stream = new ClientStream(plan, payload);
  if (method.methodKind !== "server_streaming") void stream.sendAll(iterator);
  return {
    stream: true,
    service: method.parent,
    method,
    get header() {
      return new Headers();
    },
    get trailer() {
      return new Headers();
    },
    message: stream.messages,
  };
}

async function onlyMessage<I extends DescMessage>(
  method: DescMethodStreaming<I, DescMessage>,
  input: AsyncIterator<MessageInitShape<I>>,
): Promise<Uint8Array> {
  const first = await input.next();
  if (first.done === true) throw unimplemented("a server-streaming call needs one message");
  await input.return?.();
  return encodeMessage(method.input, first.value);
}

class ClientStream<I extends DescMessage, O extends DescMessage> {
  readonly messages: MessageQueue<MessageShape<O>>;
  readonly #connection: ClientConnection;
  readonly #method: DescMethodStreaming<I, O>;
  readonly #id: number;
  readonly #stopWatching: () => void;
  #over = false;
  #input: AsyncIterator<MessageInitShape<I>> | undefined;

  constructor(plan: CallPlan<DescMethodStreaming<I, O>>, payload: Uint8Array) {
    const { connection, method, metadata, limits } = plan;
    this.#connection = connection;
    this.#method = method;
    const giveUp = (error: Error): void => this.#fail(error);
    this.messages = new MessageQueue(connection.frames, () => giveUp(canceled("the reader left")), giveUp);
    const flags = method.methodKind === "server_streaming" ? Flag.remoteClosed : Flag.remoteOpen;
    this.#id = connection.open(
      { service: method.parent.typeName, method: method.name, metadata, timeoutMs: limits.timeoutMs, payload, flags },
      { onFrame: (frame) => this.#onFrame(frame), fail: giveUp },
    );
    this.#stopWatching = watchLimits(limits, giveUp);
  }

  /** This sends what the caller yields, no faster than the connection takes it, and then the half close. */
  async sendAll(input: AsyncIterator<MessageInitShape<I>>): Promise<void> {
    this.#input = input;
    try {
      for (let next = await input.next(); next.done !== true; next = await input.next()) {
        if (this.#over) return;
        const free = this.#connection.sendData(this.#id, encodeMessage(this.#method.input, next.value));
        if (!free) await this.#connection.frames.drained();
      }
      if (!this.#over) this.#connection.sendEnd(this.#id);
    } catch (error) {
      this.#fail(toConnectError(error));
      // The server still waits for messages: without the half close its handler would wait for ever.
      this.#connection.sendEnd(this.#id);
    }
  }

  #onFrame(frame: Frame & { readonly payload: Uint8Array }): void {
    try {
      if (frame.type === MessageType.response) this.#onResponse(frame.payload);
      else if (frame.type === MessageType.data) this.#onData(frame);
      else throw internal(`peer sends a frame of type ${frame.type} on a stream`);
    } catch (error) {
      this.#fail(toConnectError(error));
    }
  }

  #onResponse(payload: Uint8Array): void {
    const response = decodeMessage(ResponseSchema, payload);
    const error = fromProtoStatus(response.status);
    if (error !== undefined) throw error;
    // The answer of a client stream may be an empty message; a server stream that ends this way has none.
    if (this.#method.methodKind === "client_streaming" || response.payload.length > 0) {
      this.messages.push(decodeMessage(this.#method.output, response.payload));
    }
    this.#end();
  }

  #onData({ flags, payload }: { readonly flags: number; readonly payload: Uint8Array }): void {
    if (this.#method.methodKind === "client_streaming") throw internal("peer sends a stream where one answer is due");
    if ((flags & Flag.noData) === 0) this.messages.push(decodeMessage(this.#method.output, payload));
    if ((flags & Flag.remoteClosed) !== 0) this.#end();
  }

  #end(): void {
    this.messages.end();
    this.#leave();
  }

  #fail(error: Error): void {
    if (this.#over) return;
    this.messages.fail(error);
    this.#leave();
  }

  #leave(): void {
    this.#over = true;
    this.#stopWatching?.();
    this.#connection.forget(this.#id);
    void Promise.resolve(this.#input?.return?.()).catch(() => {});
  }
}
