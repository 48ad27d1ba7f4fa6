import type { ServerHttp2Stream } from "node:http2";
import { constants } from "node:http2";

import type { ConnectError, Interceptor, MethodImplSpec } from "@connectrpc/connect";
import { MAX_TIMER_MS } from "@berth/core/call-limits";
import { canceled, deadlineExceeded, toConnectError } from "@berth/errors";

import { encodeFrame } from "../wire/frame.ts";
import { encodeMessage } from "../wire/message.ts";
import type { WireHeaders } from "../wire/status.ts";
import { addMetadata, encodeStatus } from "../wire/status.ts";
import { writeOrWait } from "../wire/write.ts";
import { CallContext } from "./call-context.ts";
import type { AnyInit } from "./invoke.ts";
import type { CallObserver } from "./observe.ts";

/** What all calls of a server share. */
export interface CallPolicy {
  readonly maxReceiveBytes: number;
  readonly maxSendBytes: number;
  readonly interceptors: readonly Interceptor[];
  readonly observer: CallObserver;
}

const RESPONSE_HEADERS: Readonly<WireHeaders> = { ":status": "200", "content-type": "application/grpc" };
const OK_TRAILERS: Readonly<WireHeaders> = { "grpc-status": "0" };
const WAIT_FOR_TRAILERS = { waitForTrailers: true, sendDate: false } as const;
const END_STREAM = { endStream: true, sendDate: false } as const;
const DRAIN_MS = 1000;
const ignore = (): void => {};

/** One gRPC call over an HTTP/2 stream: its context, its deadline, and exactly one answer. */
export class GrpcCall {
  readonly context: CallContext;
  readonly policy: CallPolicy;
  readonly encoding: string | undefined;
  readonly stream: ServerHttp2Stream;
  readonly #startedAtMs = performance.now();
  #over = false;
  #headersSent = false;
  #messagesSent = 0;
  #deadline: NodeJS.Timeout | undefined;
  #trailers: WireHeaders = OK_TRAILERS;
  /** Called once when the call ends before its handler: cancelled, timed out. */
  onCut: (reason: ConnectError) => void = ignore;

  constructor(
    stream: ServerHttp2Stream,
    headers: WireHeaders,
    spec: MethodImplSpec,
    policy: CallPolicy,
    timeoutMs: number | undefined,
  ) {
    this.stream = stream;
    this.policy = policy;
    this.encoding = single(headers["grpc-encoding"]);
    this.context = new CallContext({
      method: spec.method,
      protocolName: "grpc",
      requestMethod: "POST",
      url: single(headers[":path"]) ?? "",
      headers,
      timeoutMs,
    });
    stream.on("close", () => this.#onClose());
    if (timeoutMs !== undefined && timeoutMs < MAX_TIMER_MS) this.#startDeadline(timeoutMs);
  }

  /** Whether the call has been answered or cut off: whatever its handler still does is not heard. */
  get isOver(): boolean {
    return this.#over;
  }

  /** This answers a unary call. */
  answer(output: AnyInit): void {
    if (this.#over) return;
    let frame: Uint8Array;
    try {
      frame = this.#encode(output);
    } catch (error) {
      this.fail(error);
      return;
    }
    this.#sendHeaders();
    this.#settle(undefined);
    this.#addTrailers();
    if (this.stream.destroyed) return;
    this.stream.end(frame);
    this.#shutDown();
  }

  /** This sends one message of a stream and resolves when the next may be sent. */
  send(output: AnyInit): Promise<void> | undefined {
    if (this.#over) return undefined;
    const frame = this.#encode(output);
    if (!this.#headersSent) this.#sendHeaders();
    this.#messagesSent += 1;
    return writeOrWait(this.stream, frame);
  }

  /** This ends a stream of messages with status OK. */
  end(): void {
    if (this.#over) return;
    if (!this.#headersSent) this.#sendHeaders();
    this.#settle(undefined);
    this.#addTrailers();
    this.#finishStream();
  }

  /** This ends the call with an error; later answers are dropped. */
  fail(thrown: unknown): void {
    if (this.#over) return;
    const error = toConnectError(thrown);
    this.#settle(error);
    this.#trailers = encodeStatus(error);
    this.#addTrailers();
    if (this.stream.destroyed) return;
    if (this.#headersSent) this.stream.end();
    else this.stream.respond({ ...RESPONSE_HEADERS, ...this.#trailers }, END_STREAM);
    this.#closeUnreadRequest();
  }

  #encode(output: AnyInit): Uint8Array {
    return encodeFrame(encodeMessage(this.context.method.output, output, this.policy.maxSendBytes));
  }

  #sendHeaders(): void {
    this.#headersSent = true;
    if (this.stream.destroyed) return;
    const { touchedResponseHeader } = this.context;
    let headers: WireHeaders = RESPONSE_HEADERS;
    if (touchedResponseHeader !== undefined) {
      headers = { ...headers };
      addMetadata(headers, touchedResponseHeader);
    }
    this.stream.respond(headers, WAIT_FOR_TRAILERS);
    this.stream.on("wantTrailers", () => this.stream.sendTrailers(this.#trailers));
  }

  #addTrailers(): void {
    const { touchedResponseTrailer } = this.context;
    if (touchedResponseTrailer === undefined) return;
    this.#trailers = { ...this.#trailers };
    addMetadata(this.#trailers, touchedResponseTrailer);
  }

  #finishStream(): void {
    if (this.stream.destroyed) return;
    this.stream.end();
    // Further messages could still wait in the stream for the first.
    if (this.#messagesSent < 2) this.#shutDown();
    this.#closeUnreadRequest();
  }

  /**
   * This ends the stream below Node's queue, which has handed on all that it had. Otherwise the trailers, which a caller waits for, would
   * be asked for only when the write has completed: a turn of the event loop later, a fifth of the time of a small call. It is what
   * Node does by itself to streams without trailers, and a second time does nothing.
   */
  #shutDown(): void {
    this.stream._final(ignore);
  }

  /** What an answered client still sends is dropped for a while, so that it reads its answer in peace; then it is reset. */
  #closeUnreadRequest(): void {
    const { stream } = this;
    if (stream.readableEnded || stream.destroyed) return;
    stream.resume();
    const timer = setTimeout(() => stream.close(constants.NGHTTP2_NO_ERROR), DRAIN_MS);
    stream.once("close", () => clearTimeout(timer));
  }

  #startDeadline(timeoutMs: number): void {
    this.#deadline = setTimeout(() => {
      const error = deadlineExceeded("the deadline of the call is over");
      this.#cut(error);
      this.fail(error);
    }, timeoutMs);
  }

  #onClose(): void {
    if (this.#over) return;
    const error = canceled("the caller canceled the call");
    this.#cut(error);
    this.#settle(error);
  }

  #cut(error: ConnectError): void {
    this.context.abort(error);
    this.onCut(error);
  }

  #settle(error: ConnectError | undefined): void {
    this.#over = true;
    if (this.#deadline !== undefined) clearTimeout(this.#deadline);
    if (error === undefined) this.context.finish();
    else this.context.abort(error);
    this.policy.observer.callEnded(this.context.method, error, this.#startedAtMs);
  }
}

function single(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value;
}
