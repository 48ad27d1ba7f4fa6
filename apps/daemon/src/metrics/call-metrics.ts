import type { CallMetrics } from "@berth/plugin-core/types";
import { codeOf } from "@berth/errors";
import type { DescMessage, DescMethod } from "@bufbuild/protobuf";
import type { Interceptor, StreamRequest, StreamResponse, UnaryRequest, UnaryResponse } from "@connectrpc/connect";
import { Code } from "@connectrpc/connect";
import type { Registry } from "prom-client";
import { Counter, Histogram } from "prom-client";

const LABELS = ["grpc_type", "grpc_service", "grpc_method"] as const;

const TYPES = {
  unary: "unary",
  client_streaming: "client_stream",
  server_streaming: "server_stream",
  bidi_streaming: "bidi_stream",
} as const satisfies Record<DescMethod["methodKind"], string>;

type AnyRequest = UnaryRequest<DescMessage, DescMessage> | StreamRequest<DescMessage, DescMessage>;
type AnyResponse = UnaryResponse<DescMessage, DescMessage> | StreamResponse<DescMessage, DescMessage>;

/** This counts calls under the names that gRPC servers in Go use; how long they took, where it is asked for. */
export function createCallMetrics(options: { readonly registry: Registry; readonly histogram: boolean }): CallMetrics {
  const counters = new CallCounters(options);
  const interceptor: Interceptor = (next) => async (request) => {
    const call = counters.begin(request.method);
    try {
      return call.countAnswer(await next(call.countRequest(request)), request.signal);
    } catch (error) {
      call.end(Code[codeOf(error)]);
      throw error;
    }
  };
  return { interceptor };
}

class CallCounters {
  readonly started: Counter;
  readonly handled: Counter;
  readonly received: Counter;
  readonly sent: Counter;
  readonly seconds: Histogram | undefined;

  constructor({ registry, histogram }: { readonly registry: Registry; readonly histogram: boolean }) {
    const registers = [registry];
    const counter = (name: string, help: string, labelNames: readonly string[] = LABELS): Counter =>
      new Counter({ name: `grpc_server_${name}_total`, help, labelNames, registers });
    this.started = counter("started", "Calls that began");
    this.handled = counter("handled", "Calls that ended, by their code", [...LABELS, "grpc_code"]);
    this.received = counter("msg_received", "Messages from clients");
    this.sent = counter("msg_sent", "Messages to clients");
    if (!histogram) return;
    const name = "grpc_server_handling_seconds";
    this.seconds = new Histogram({ name, help: "How long calls took", labelNames: LABELS, registers });
  }

  begin(method: DescMethod): CountedCall {
    const labels = {
      grpc_type: TYPES[method.methodKind],
      grpc_service: method.parent.typeName,
      grpc_method: method.name,
    };
    this.started.inc(labels);
    return new CountedCall(this, labels);
  }
}

class CountedCall {
  readonly #counters: CallCounters;
  readonly #labels: Readonly<Record<(typeof LABELS)[number], string>>;
  readonly #beginMs = performance.now();
  #hasEnded = false;

  constructor(counters: CallCounters, labels: Readonly<Record<(typeof LABELS)[number], string>>) {
    this.#counters = counters;
    this.#labels = labels;
  }

  countRequest(request: AnyRequest): AnyRequest {
    if (request.stream) {
      return { ...request, message: this.#countMessages(request.message, this.#counters.received) };
    }
    this.#counters.received.inc(this.#labels);
    return request;
  }

  /** A call with a stream for an answer ends with it. */
  countAnswer(response: AnyResponse, signal: AbortSignal): AnyResponse {
    if (response.stream) return { ...response, message: this.#untilEnd(response.message, signal) };
    this.#counters.sent.inc(this.#labels);
    this.end("OK");
    return response;
  }

  end(code: string | undefined): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#counters.handled.inc({ ...this.#labels, grpc_code: code ?? "Unknown" });
    this.#counters.seconds?.observe(this.#labels, (performance.now() - this.#beginMs) / 1000);
  }

  async *#countMessages<T>(messages: AsyncIterable<T>, counter: Counter): AsyncIterable<T> {
    for await (const message of messages) {
      counter.inc(this.#labels);
      yield message;
    }
  }

  async *#untilEnd<T>(messages: AsyncIterable<T>, signal: AbortSignal): AsyncIterable<T> {
    try {
      yield* this.#countMessages(messages, this.#counters.sent);
      // A handler may end quietly when nobody listens any more.
      this.end(signal.aborted ? Code[codeOf(signal.reason)] : "OK");
    } catch (error) {
      this.end(Code[codeOf(error)]);
      throw error;
    } finally {
      // Whoever reads has left before the end.
      this.end("Canceled");
    }
  }
}
