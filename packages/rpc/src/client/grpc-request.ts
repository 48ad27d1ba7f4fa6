import type { ClientHttp2Session, ClientHttp2Stream, IncomingHttpHeaders } from "node:http2";
import { constants } from "node:http2";

import type { ConnectError } from "@connectrpc/connect";
import { ConnectError as RpcError, Code } from "@connectrpc/connect";
import type { CallLimits } from "@berth/core/call-limits";
import { abortError, MAX_TIMER_MS } from "@berth/core/call-limits";
import { canceled, deadlineExceeded, internal, unavailable } from "@berth/errors";

import type { WireHeaders } from "../wire/status.ts";
import { findStatusError } from "../wire/status.ts";

const ignore = (): void => {};

/**
 * One gRPC request of a client, from its headers to its status. The outcome is told once, by `onEnd`: no error when the
 * trailers say OK.
 */
export class GrpcRequest {
  readonly stream: ClientHttp2Stream;
  readonly #signal: AbortSignal | undefined;
  #headers: IncomingHttpHeaders | undefined;
  #trailers: IncomingHttpHeaders | undefined;
  #timer: NodeJS.Timeout | undefined;
  #over = false;
  /** Why the connection was given up. */
  #reason: RpcError | undefined;
  onHeaders: () => void = ignore;
  onEnd: (error: ConnectError | undefined) => void = ignore;

  constructor(session: ClientHttp2Session, headers: WireHeaders, limits: CallLimits) {
    this.#signal = limits.signal;
    this.stream = session.request(headers, { endStream: false });
    this.stream.on("response", (received) => this.#onResponse(received));
    this.stream.on("trailers", (received) => {
      this.#trailers = received;
    });
    this.stream.on("error", (error) => {
      if (error instanceof RpcError) this.#reason = error;
      // Of the whole connection: the peer speaks something else.
      else if ("code" in error && error.code === "ERR_HTTP2_ERROR") {
        this.#reason = internal(`peer does not keep to HTTP/2: ${error.message}`);
      }
    });
    // The answer is whole: nobody reads what would still be sent, and the peer may wait for its end before it closes.
    this.stream.on("end", () => setImmediate(() => this.#stopSending()));
    this.stream.on("close", () => this.end(this.#outcome(session.destroyed)));
    this.#signal?.addEventListener("abort", this.#onAbort);
    const { timeoutMs } = limits;
    if (timeoutMs !== undefined && timeoutMs < MAX_TIMER_MS) {
      this.#timer = setTimeout(() => this.cancel(deadlineExceeded("the operation timed out")), Math.max(0, timeoutMs));
    }
  }

  get headers(): WireHeaders {
    return this.#headers ?? {};
  }

  get trailers(): WireHeaders {
    return this.#trailers ?? {};
  }

  /** Whether the outcome has been told. */
  get isOver(): boolean {
    return this.#over;
  }

  /** This gives the call up: the server sees RST_STREAM CANCEL, the caller gets `error`. */
  cancel(error: ConnectError): void {
    if (this.#over) return;
    this.stream.close(constants.NGHTTP2_CANCEL);
    this.end(error);
  }

  /** This tells the outcome; later ones are not heard. */
  end(error: ConnectError | undefined): void {
    if (this.#over) return;
    this.#over = true;
    if (this.#timer !== undefined) clearTimeout(this.#timer);
    this.#signal?.removeEventListener("abort", this.#onAbort);
    this.onEnd(error);
  }

  readonly #onAbort = (): void => {
    this.cancel(abortError(this.#signal?.reason));
  };

  #stopSending(): void {
    if (!this.#over && !this.stream.writableEnded) this.stream.close(constants.NGHTTP2_NO_ERROR);
  }

  #onResponse(received: IncomingHttpHeaders): void {
    this.#headers = received;
    const status = Number(received[":status"]);
    const contentType = received["content-type"] ?? "";
    if (status !== 200) this.cancel(errorOfHttpStatus(status));
    else if (!/^application\/grpc(\+proto)?(;|$)/.test(contentType)) {
      this.cancel(internal(`peer answers with content-type ${JSON.stringify(contentType)}, not with gRPC`));
    } else this.onHeaders();
  }

  #outcome(isConnectionLost: boolean): ConnectError | undefined {
    const told = this.#trailers ?? (this.#headers?.["grpc-status"] === undefined ? undefined : this.#headers);
    if (told?.["grpc-status"] !== undefined) return findStatusError(told);
    if (this.#reason !== undefined) return this.#reason;
    // Node resets the streams of a lost connection by codes of its own, as if the peer had done it.
    if (isConnectionLost) return unavailable("connection lost before the call was answered");
    return errorOfReset(this.stream.rstCode ?? 0, this.#headers === undefined);
  }
}

function errorOfReset(code: number, beforeHeaders: boolean): ConnectError {
  switch (code) {
    case constants.NGHTTP2_REFUSED_STREAM:
      return unavailable("peer refused the call");
    case constants.NGHTTP2_CANCEL:
      return beforeHeaders
        ? unavailable("connection closed before the call was answered")
        : canceled("peer canceled the call");
    case constants.NGHTTP2_ENHANCE_YOUR_CALM:
      return new RpcError("peer asks for fewer calls", Code.ResourceExhausted);
    case constants.NGHTTP2_NO_ERROR:
      return unavailable("connection closed before the call was answered");
    default:
      return internal(`peer reset the call with HTTP/2 code ${code}`);
  }
}

function errorOfHttpStatus(status: number): ConnectError {
  const codes: Readonly<Record<number, Code>> = {
    400: Code.Internal,
    401: Code.Unauthenticated,
    403: Code.PermissionDenied,
    404: Code.Unimplemented,
    429: Code.Unavailable,
    502: Code.Unavailable,
    503: Code.Unavailable,
    504: Code.Unavailable,
  };
  return new RpcError(`peer answers with HTTP status ${status}`, codes[status] ?? Code.Unknown);
}
