import type { DescMethod, DescService } from "@bufbuild/protobuf";
import type { ConnectError, ContextValues, HandlerContext } from "@connectrpc/connect";
import { createContextValues } from "@connectrpc/connect";
import { canceled } from "@berth/errors";

import type { WireHeaders } from "../wire/status.ts";
import { metadataOf } from "../wire/status.ts";

/** The reason of a signal whose call has been answered: made once, since an error per call costs more than the call. */
let callIsOver: ConnectError | undefined;

/** What is known of a call when it arrives. */
export interface CallFacts {
  readonly method: DescMethod;
  readonly protocolName: string;
  readonly requestMethod: string;
  readonly url: string;
  readonly headers: WireHeaders;
  readonly timeoutMs: number | undefined;
}

/**
 * A `HandlerContext` whose parts are made when a handler first asks for them: most unary calls never touch the signal, the
 * headers or the values, and making them would cost more than the rest of the call.
 */
export class CallContext implements HandlerContext {
  readonly method: DescMethod;
  readonly protocolName: string;
  readonly requestMethod: string;
  readonly url: string;
  readonly #headers: WireHeaders;
  readonly #deadlineMs: number | undefined;
  #requestHeader: Headers | undefined;
  #responseHeader: Headers | undefined;
  #responseTrailer: Headers | undefined;
  #values: ContextValues | undefined;
  #controller: AbortController | undefined;
  #abortReason: ConnectError | undefined;
  #isFinished = false;

  constructor(facts: CallFacts) {
    this.method = facts.method;
    this.protocolName = facts.protocolName;
    this.requestMethod = facts.requestMethod;
    this.url = facts.url;
    this.#headers = facts.headers;
    this.#deadlineMs = facts.timeoutMs === undefined ? undefined : Date.now() + facts.timeoutMs;
  }

  get service(): DescService {
    return this.method.parent;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#isFinished) this.finish();
      if (this.#abortReason !== undefined) this.#controller.abort(this.#abortReason);
    }
    return this.#controller.signal;
  }

  timeoutMs(): number | undefined {
    return this.#deadlineMs === undefined ? undefined : this.#deadlineMs - Date.now();
  }

  get requestHeader(): Headers {
    return (this.#requestHeader ??= metadataOf(this.#headers));
  }

  get responseHeader(): Headers {
    return (this.#responseHeader ??= new Headers());
  }

  get responseTrailer(): Headers {
    return (this.#responseTrailer ??= new Headers());
  }

  get values(): ContextValues {
    return (this.#values ??= createContextValues());
  }

  /** The response headers if the handler has asked for them. */
  get touchedResponseHeader(): Headers | undefined {
    return this.#responseHeader;
  }

  /** The response trailers if the handler has asked for them. */
  get touchedResponseTrailer(): Headers | undefined {
    return this.#responseTrailer;
  }

  /** This returns one request header without making the whole `Headers`. */
  findHeader(name: string): string | undefined {
    if (this.#requestHeader !== undefined) return this.#requestHeader.get(name) ?? undefined;
    const value = this.#headers[name];
    return Array.isArray(value) ? value.join(", ") : value;
  }

  /** This aborts the signal, now or when it is first asked for; the first reason stays. */
  abort(reason: ConnectError): void {
    if (this.#abortReason !== undefined) return;
    this.#abortReason = reason;
    this.#controller?.abort(reason);
  }

  /** This ends the call: its signal is aborted, as Connect does, so that work begun under it stops. */
  finish(): void {
    // A signal that nobody has asked for needs no reason yet.
    if (this.#controller !== undefined) this.abort((callIsOver ??= canceled("the call is over")));
    else this.#isFinished = true;
  }
}

/** This makes the context a handler sees after interceptors changed parts of the request. */
export function deriveContext(
  context: HandlerContext,
  changed: { readonly header: Headers; readonly signal: AbortSignal; readonly contextValues: ContextValues },
): HandlerContext {
  return {
    method: context.method,
    service: context.service,
    protocolName: context.protocolName,
    requestMethod: context.requestMethod,
    url: context.url,
    timeoutMs: () => context.timeoutMs(),
    requestHeader: changed.header,
    signal: changed.signal,
    values: changed.contextValues,
    responseHeader: context.responseHeader,
    responseTrailer: context.responseTrailer,
  };
}
