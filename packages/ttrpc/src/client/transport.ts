import { connect } from "node:net";
import type { Duplex } from "node:stream";

import type { DescMessage, DescMethodStreaming, DescMethodUnary, MessageInitShape } from "@bufbuild/protobuf";
import type { StreamResponse, Transport, UnaryResponse } from "@connectrpc/connect";
import { abortError, checkLimits } from "@berth/core/call-limits";
import type { Logger } from "@berth/core/log";
import { silentLogger } from "@berth/core/log";
import type { HeadersInit } from "@berth/core/headers";
import { messageOf, unavailable } from "@berth/errors";

import { parseTtrpcAddress } from "../address.ts";
import type { MetadataPair } from "../wire/metadata.ts";
import { toMetadata } from "../wire/metadata.ts";
import { ClientConnection, closedError } from "./client-connection.ts";
import { callStream } from "./stream-call.ts";
import { callUnary } from "./unary-call.ts";

/** Where a transport connects to. */
export type TtrpcTarget =
  /** An address as `parseTtrpcAddress` takes it. */
  | { readonly path: string }
  /** A connected socket; the transport owns it. */
  | { readonly socket: Duplex }
  /** How to get a connected socket; the transport owns what it returns. */
  | { readonly connect: (options: { readonly signal: AbortSignal }) => Promise<Duplex> };

/** What a transport does beside its target. */
export interface TtrpcTransportSettings {
  /** Metadata of every call, `containerd-namespace-ttrpc` for one; headers of a call take precedence. */
  readonly metadata?: Readonly<Record<string, string>> | undefined;
  /** How long to wait for the connection, 10 s if not given. */
  readonly connectTimeoutMs?: number | undefined;
  /** Connect anew at the first call after a lost connection; not possible with `socket`. */
  readonly reconnect?: boolean | undefined;
  readonly log?: Logger | undefined;
  /** Called each time a connection is gone. */
  readonly onClose?: ((error: Error | undefined) => void) | undefined;
}

export type TtrpcTransportOptions = TtrpcTarget & TtrpcTransportSettings;

/** A Connect `Transport` over one ttrpc connection, which it owns. */
export interface TtrpcTransport extends Transport, AsyncDisposable {
  /**
   * This connects now instead of at the first call.
   * @throws unavailable - nobody answers
   */
  connect(): Promise<void>;
  /** Resolves when no call can succeed any more: the connection is gone (with `reconnect`: after `close`). */
  readonly closed: Promise<void>;
  /** This closes the connection; running and later calls fail with unavailable. Safe to call twice. */
  close(): void;
}

/** This makes a transport. Unless given a socket, it connects at the first call. */
export function createTtrpcTransport(options: TtrpcTransportOptions): TtrpcTransport {
  return new SocketTransport(options);
}

class SocketTransport implements TtrpcTransport {
  readonly closed: Promise<void>;
  readonly #options: TtrpcTransportOptions;
  readonly #metadata: readonly MetadataPair[];
  readonly #resolveClosed: () => void;
  #connection: ClientConnection | undefined;
  #opening: Promise<ClientConnection> | undefined;
  #isClosed = false;

  constructor(options: TtrpcTransportOptions) {
    this.#options = options;
    this.#metadata = toMetadata(options.metadata);
    const { promise, resolve } = Promise.withResolvers<void>();
    this.closed = promise;
    this.#resolveClosed = resolve;
    if ("socket" in options) this.#adopt(options.socket);
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
    const connection = this.#usable() ?? (await this.#open(signal));
    return await callUnary({ connection, method, limits, metadata: this.#metadataOf(header) }, input);
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
    const connection = this.#usable() ?? (await this.#open(signal));
    return await callStream({ connection, method, limits, metadata: this.#metadataOf(header) }, input);
  }

  async connect(): Promise<void> {
    if (this.#usable() === undefined) await this.#open(undefined);
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#connection?.close();
    this.#resolveClosed();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  #usable(): ClientConnection | undefined {
    return this.#connection?.isUsable === true ? this.#connection : undefined;
  }

  async #open(signal: AbortSignal | undefined): Promise<ClientConnection> {
    if (this.#isClosed) throw closedError();
    this.#opening ??= this.#dial().finally(() => {
      this.#opening = undefined;
    });
    const connection = await untilAborted(this.#opening, signal);
    if (signal?.aborted === true) throw abortError(signal.reason);
    return connection;
  }

  async #dial(): Promise<ClientConnection> {
    const timeoutMs = this.#options.connectTimeoutMs ?? 10_000;
    const socket = await dialSocket(this.#options, timeoutMs);
    if (this.#isClosed) {
      socket.destroy();
      throw closedError();
    }
    return this.#adopt(socket);
  }

  #adopt(socket: Duplex): ClientConnection {
    const connection = new ClientConnection(socket, this.#options.log ?? silentLogger, (error) => {
      if (this.#connection === connection) this.#connection = undefined;
      if (this.#options.reconnect !== true || "socket" in this.#options) this.close();
      this.#options.onClose?.(error);
    });
    this.#connection = connection;
    return connection;
  }

  #metadataOf(header: HeadersInit | undefined): MetadataPair[] {
    if (header === undefined) return [...this.#metadata];
    const own = toMetadata(header);
    const named = new Set(own.map(({ key }) => key));
    return [...this.#metadata.filter(({ key }) => !named.has(key)), ...own];
  }
}

async function dialSocket(target: TtrpcTarget, timeoutMs: number): Promise<Duplex> {
  if ("connect" in target) return await target.connect({ signal: AbortSignal.timeout(timeoutMs) });
  // A transport made of a socket has it from its beginning and never dials.
  if ("socket" in target) throw closedError();
  const { promise, resolve, reject } = Promise.withResolvers<Duplex>();
  const socket = connect({ path: parseTtrpcAddress(target.path) });
  const fail = (why: string, cause?: Error): void => {
    socket.destroy();
    reject(unavailable(`connect to ${target.path.replace("\0", "@")}: ${why}`, { cause }));
  };
  const timer = setTimeout(() => fail(`no answer within ${timeoutMs} ms`), timeoutMs);
  const onError = (error: Error): void => fail(messageOf(error), error);
  socket.once("error", onError);
  socket.once("connect", () => resolve(socket));
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
    socket.off("error", onError);
    if (socket.destroyed) socket.on("error", () => {});
  }
}

async function untilAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return await work;
  const { promise, reject } = Promise.withResolvers<never>();
  const onAbort = (): void => reject(abortError(signal.reason));
  signal.addEventListener("abort", onAbort);
  try {
    return await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
