import type { DescMessage, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { create, toBinary } from "@bufbuild/protobuf";
import type { Request } from "@berth/api/ttrpc/ttrpc";
import { ResponseSchema } from "@berth/api/ttrpc/ttrpc";
import type { ConnectError, MethodImplSpec } from "@connectrpc/connect";
import { MAX_TIMER_MS } from "@berth/core/call-limits";
import { callIsOverError } from "@berth/core/call-context";
import { deadlineExceeded, invalidArgument, toConnectError } from "@berth/errors";

import { Flag, MessageType } from "../wire/frame.ts";
import type { FrameConnection } from "../wire/frame-connection.ts";
import { decodeMessage, encodeMessage } from "../wire/message.ts";
import { MessageQueue } from "../wire/message-queue.ts";
import { toProtoStatus } from "../wire/status.ts";
import { CallContext } from "./call-context.ts";

type AnyMessage = MessageShape<DescMessage>;
type AnyInit = MessageInitShape<DescMessage>;

const NANOS_PER_MS = 1_000_000n;
const NOTHING = new Uint8Array(0);

/** One call on a server: from its request to exactly one end, sent or not. */
export class ServerCall {
  readonly #frames: FrameConnection;
  readonly #id: number;
  readonly #spec: MethodImplSpec;
  readonly #context: CallContext;
  readonly #onEnd: () => void;
  readonly #input: MessageQueue<AnyMessage> | undefined;
  #output: AsyncIterator<AnyInit> | undefined;
  #deadline: NodeJS.Timeout | undefined;
  #over = false;

  constructor(frames: FrameConnection, id: number, spec: MethodImplSpec, request: Request, onEnd: () => void) {
    this.#frames = frames;
    this.#id = id;
    this.#spec = spec;
    this.#onEnd = onEnd;
    const timeoutMs = request.timeoutNano > 0n ? toMs(request.timeoutNano) : undefined;
    this.#context = new CallContext(spec.method, request.metadata, timeoutMs);
    if (timeoutMs !== undefined && timeoutMs < MAX_TIMER_MS) {
      this.#deadline = setTimeout(() => this.cut(deadlineExceeded("the deadline of the call is over")), timeoutMs);
    }
    if (spec.kind === "client_streaming" || spec.kind === "bidi_streaming") {
      this.#input = new MessageQueue<AnyMessage>(
        frames,
        () => {},
        (error) => this.cut(toConnectError(error)),
      );
    }
  }

  get context(): CallContext {
    return this.#context;
  }

  /** This calls the handler. Never throws: what goes wrong becomes the answer. */
  start(payload: Uint8Array): void {
    try {
      this.#dispatch(payload);
    } catch (error) {
      this.#fail(error);
    }
  }

  /** This takes a data frame of the client. */
  takeData(flags: number, payload: Uint8Array): void {
    const closes = (flags & Flag.remoteClosed) !== 0;
    if (closes && payload.length > 0) {
      this.cut(invalidArgument("data close message cannot include data"));
      return;
    }
    if (this.#input === undefined) {
      // A server-streaming or unary call has had its one message; only a half close is in order.
      if (!closes) this.cut(invalidArgument("data on a stream that the client does not stream on"));
      return;
    }
    try {
      if ((flags & Flag.noData) === 0 && !closes) this.#input.push(decodeMessage(this.#spec.method.input, payload));
    } catch (error) {
      this.cut(invalidArgument(`data handling error: ${toConnectError(error).rawMessage}`, { cause: error }));
      return;
    }
    if (closes) this.#input.end();
  }

  /** This answers the call with an error while its handler still runs; the handler is told by its signal. */
  cut(error: ConnectError): void {
    if (this.#over) return;
    this.#context.abort(error);
    this.#fail(error);
    void this.#abandon();
  }

  #dispatch(payload: Uint8Array): void {
    const spec = this.#spec;
    const context = this.#context;
    switch (spec.kind) {
      case "unary":
        this.#answerWhenDone(spec.impl(decodeMessage(spec.method.input, payload), context));
        return;
      case "server_streaming":
        this.#stream(spec.impl(decodeMessage(spec.method.input, payload), context));
        return;
      case "client_streaming":
        this.#answerWhenDone(spec.impl(this.#messages(payload), context));
        return;
      case "bidi_streaming":
        this.#stream(spec.impl(this.#messages(payload), context));
    }
  }

  /** The messages of a streaming client; a request may bring the first of them along. */
  #messages(payload: Uint8Array): AsyncIterable<AnyMessage> {
    // Streaming kinds have their queue since the constructor.
    const input = this.#input as MessageQueue<AnyMessage>;
    if (payload.length > 0) input.push(decodeMessage(this.#spec.method.input, payload));
    return input;
  }

  #answerWhenDone(output: Promise<AnyInit> | AnyInit): void {
    if (!isPromise(output)) {
      this.#answer(output);
      return;
    }
    output.then(
      (value) => this.#answer(value),
      (error: unknown) => this.#fail(error),
    );
  }

  #answer(output: AnyInit): void {
    if (this.#over) return;
    try {
      const payload = encodeMessage(this.#spec.method.output, output);
      const response = toBinary(ResponseSchema, create(ResponseSchema, { payload }));
      this.#frames.send(this.#id, MessageType.response, 0, response);
      this.#settle();
    } catch (error) {
      this.#fail(error);
    }
  }

  #stream(output: AsyncIterable<AnyInit>): void {
    this.#output = output[Symbol.asyncIterator]();
    void this.#sendAll(this.#output);
  }

  async #sendAll(output: AsyncIterator<AnyInit>): Promise<void> {
    try {
      for (let next = await output.next(); next.done !== true; next = await output.next()) {
        if (this.#over) return;
        const payload = encodeMessage(this.#spec.method.output, next.value);
        if (!this.#frames.send(this.#id, MessageType.data, 0, payload)) await this.#frames.drained();
        if (this.#over) return;
      }
      if (this.#over) return;
      this.#frames.send(this.#id, MessageType.data, Flag.remoteClosed | Flag.noData, NOTHING);
      this.#settle();
    } catch (error) {
      this.#fail(error);
      // When sending failed, the handler has not ended yet.
      await this.#abandon();
    }
  }

  #fail(thrown: unknown): void {
    if (this.#over) return;
    const error = toConnectError(thrown);
    sendStatus(this.#frames, this.#id, error);
    this.#context.abort(error);
    this.#input?.abort(error);
    this.#settle();
  }

  /** An iterable that nobody reads any more is closed, so that the handler's `finally` and `await using` run. */
  async #abandon(): Promise<void> {
    try {
      await this.#output?.return?.();
    } catch {
      // The call has its answer; what the handler's clean-up throws concerns no caller.
    }
  }

  #settle(): void {
    this.#over = true;
    clearTimeout(this.#deadline);
    this.#context.finish();
    // A handler that reads on after its answer must not take that for the end of the stream.
    this.#input?.abort(callIsOverError());
    this.#onEnd();
  }
}

function isPromise(value: Promise<AnyInit> | AnyInit): value is Promise<AnyInit> {
  return "then" in value && typeof value.then === "function";
}

/** This ends a stream with an error. */
export function sendStatus(frames: FrameConnection, id: number, error: ConnectError): void {
  const response = create(ResponseSchema, { status: toProtoStatus(error) });
  frames.send(id, MessageType.response, 0, toBinary(ResponseSchema, response));
}

function toMs(nanos: bigint): number {
  const ms = (nanos + NANOS_PER_MS - 1n) / NANOS_PER_MS;
  return ms > BigInt(MAX_TIMER_MS) ? MAX_TIMER_MS : Number(ms);
}
