import type { ClientHttp2Session } from "node:http2";

import type {
  DescMessage,
  DescMethod,
  DescMethodStreaming,
  DescMethodUnary,
  MessageInitShape,
} from "@bufbuild/protobuf";
import type { StreamResponse, Transport, UnaryResponse } from "@connectrpc/connect";
import type { CallLimits } from "@berth/core/call-limits";
import { abortError, checkLimits } from "@berth/core/call-limits";
import type { HeadersInit } from "@berth/core/headers";
import { headerPairs } from "@berth/core/headers";

import type { WireHeaders } from "../wire/status.ts";
import { formatGrpcTimeout } from "../wire/timeout.ts";
import { SessionKeeper } from "./session.ts";
import { callStream } from "./stream-call.ts";
import { callUnary } from "./unary-call.ts";

/** Where a transport connects to, and what it adds to each call. */
export interface UnixTransportOptions {
  /** The path of the socket. */
  readonly path: string;
  /** The namespace of calls that name none themselves. */
  readonly namespace?: string | undefined;
  /** The lease of calls that name none themselves. */
  readonly lease?: string | undefined;
  /** Closes the transport when aborted. */
  readonly signal?: AbortSignal | undefined;
  /** How long to wait for the connection, 10 s if not given. */
  readonly connectTimeoutMs?: number | undefined;
  /** The largest message either way, 16 MiB if not given. */
  readonly maxMessageBytes?: number | undefined;
  /** Called each time a connection is gone. */
  readonly onClose?: (() => void) | undefined;
}

/** A Connect `Transport` that owns one connection. Closing it is safe to do twice; running calls then fail. */
export interface UnixTransport extends Transport, AsyncDisposable {
  /**
   * This connects now instead of at the next call, unless there is a connection, and waits until the peer speaks.
   * @throws unavailable - nobody answers, or with nothing
   * @throws canceled - the transport is closed
   */
  connect(): Promise<void>;
  close(): void;
}

/**
 * This makes a transport that speaks gRPC over a unix socket, on one connection that all calls share.
 *
 * Nothing is opened before the first call; after a lost connection the next call opens a new one. Calls that were running
 * fail with unavailable and are never repeated by themselves.
 */
export function createUnixTransport(options: UnixTransportOptions): UnixTransport {
  return new GrpcUnixTransport(options);
}

class GrpcUnixTransport implements UnixTransport {
  readonly #keeper: SessionKeeper;
  readonly #maxBytes: number;
  readonly #fixedHeaders: WireHeaders;

  constructor(options: UnixTransportOptions) {
    this.#keeper = new SessionKeeper(options.path, options.connectTimeoutMs ?? 10_000, options.onClose);
    this.#maxBytes = options.maxMessageBytes ?? 16 * 1024 * 1024;
    this.#fixedHeaders = fixedHeaders(options);
    options.signal?.addEventListener("abort", () => this.close(), { once: true });
    if (options.signal?.aborted === true) this.close();
  }

  async unary<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    signal: AbortSignal | undefined,
    timeoutMs: number | undefined,
    header: HeadersInit | undefined,
    input: MessageInitShape<I>,
  ): Promise<UnaryResponse<I, O>> {
    const limits = { signal, timeoutMs };
    checkLimits(limits);
    const headers = this.#headers(method, timeoutMs, header);
    return await this.#with(limits, (session) =>
      callUnary({ session, method, headers, limits, maxBytes: this.#maxBytes }, input),
    );
  }

  async stream<I extends DescMessage, O extends DescMessage>(
    method: DescMethodStreaming<I, O>,
    signal: AbortSignal | undefined,
    timeoutMs: number | undefined,
    header: HeadersInit | undefined,
    input: AsyncIterable<MessageInitShape<I>>,
  ): Promise<StreamResponse<I, O>> {
    const limits = { signal, timeoutMs };
    checkLimits(limits);
    const headers = this.#headers(method, timeoutMs, header);
    return await this.#withStream(limits, (session, onEnd) =>
      callStream({ session, method, headers, limits, maxBytes: this.#maxBytes }, input, onEnd),
    );
  }

  async connect(): Promise<void> {
    await this.#keeper.connect();
  }

  close(): void {
    this.#keeper.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  async #with<R>(limits: CallLimits, call: (session: ClientHttp2Session) => Promise<R>): Promise<R> {
    this.#keeper.enter();
    try {
      return await call(this.#keeper.current ?? (await this.#open(limits)));
    } finally {
      this.#keeper.leave();
    }
  }

  /** A streaming call is counted until its last message, not until its headers. */
  async #withStream<R>(
    limits: CallLimits,
    call: (session: ClientHttp2Session, onEnd: () => void) => Promise<R>,
  ): Promise<R> {
    this.#keeper.enter();
    let counted = true;
    const leave = (): void => {
      if (counted) this.#keeper.leave();
      counted = false;
    };
    try {
      return await call(this.#keeper.current ?? (await this.#open(limits)), leave);
    } catch (error) {
      leave();
      throw error;
    }
  }

  async #open(limits: CallLimits): Promise<ClientHttp2Session> {
    const opening = this.#keeper.open();
    const { signal } = limits;
    const session = await (signal === undefined ? opening : Promise.race([opening, whenAborted(signal, opening)]));
    // The call may have been cancelled while the connection was made.
    if (signal?.aborted === true) throw abortError(signal.reason);
    return session;
  }

  #headers(method: DescMethod, timeoutMs: number | undefined, init: HeadersInit | undefined): WireHeaders {
    const headers: WireHeaders = {
      ":path": `/${method.parent.typeName}/${method.name}`,
      ...this.#fixedHeaders,
    };
    if (timeoutMs !== undefined) headers["grpc-timeout"] = formatGrpcTimeout(timeoutMs);
    if (init !== undefined) for (const [name, value] of headerPairs(init)) headers[name] = value;
    return headers;
  }
}

function fixedHeaders(options: UnixTransportOptions): WireHeaders {
  return {
    ":method": "POST",
    ":scheme": "http",
    ":authority": "localhost",
    "content-type": "application/grpc",
    te: "trailers",
    "grpc-accept-encoding": "gzip",
    ...(options.namespace === undefined ? {} : { "containerd-namespace": options.namespace }),
    ...(options.lease === undefined ? {} : { "containerd-lease": options.lease }),
  };
}

async function whenAborted(signal: AbortSignal, orUntil: Promise<unknown>): Promise<never> {
  const { promise, reject } = Promise.withResolvers<never>();
  const onAbort = (): void => reject(abortError(signal.reason));
  signal.addEventListener("abort", onAbort);
  void orUntil.then(
    () => signal.removeEventListener("abort", onAbort),
    () => signal.removeEventListener("abort", onAbort),
  );
  return await promise;
}
