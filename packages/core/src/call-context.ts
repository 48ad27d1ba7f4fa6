import type { DescMethod, DescService } from "@bufbuild/protobuf";
import type { ConnectError, ContextValues, HandlerContext } from "@connectrpc/connect";
import { createContextValues } from "@connectrpc/connect";
import { canceled, failedPrecondition } from "@berth/errors";

import { type Namespace, parseNamespace } from "./namespaces.ts";

/** Made once, since an error per call costs more than the call. */
let callIsOver: ConnectError | undefined;

/** This returns the reason with which a call that has been answered is ended. */
export function callIsOverError(): ConnectError {
  return (callIsOver ??= canceled("the call is over"));
}

/**
 * A `HandlerContext` whose parts are made when a handler first asks for them: most unary calls never touch the signal, the
 * headers or the values, and making them would cost more than the rest of the call. A protocol says how its headers are read.
 */
export abstract class LazyContext implements HandlerContext {
  readonly method: DescMethod;
  abstract readonly protocolName: string;
  abstract readonly requestMethod: string;
  abstract readonly url: string;
  readonly #deadlineMs: number | undefined;
  #requestHeader: Headers | undefined;
  #responseHeader: Headers | undefined;
  #responseTrailer: Headers | undefined;
  #values: ContextValues | undefined;
  #controller: AbortController | undefined;
  #abortReason: ConnectError | undefined;
  #isFinished = false;

  constructor(method: DescMethod, timeoutMs: number | undefined) {
    this.method = method;
    this.#deadlineMs = timeoutMs === undefined ? undefined : Date.now() + timeoutMs;
  }

  /** This makes the `Headers` of the request. */
  protected abstract readHeaders(): Headers;

  /** This returns one of {@link readHeaders}, by its name in lower case, without making them. */
  protected abstract readHeader(name: string): string | undefined;

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
    return (this.#requestHeader ??= this.readHeaders());
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

  /** This returns one request header, by its name in lower case, without making the whole `Headers`. */
  findHeader(name: string): string | undefined {
    return this.#requestHeader === undefined ? this.readHeader(name) : (this.#requestHeader.get(name) ?? undefined);
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
    if (this.#controller !== undefined) this.abort(callIsOverError());
    else this.#isFinished = true;
  }
}

/**
 * This returns what the request header `name` (in lower case) says, `undefined` when it is absent or empty. Of several the
 * first counts: a Go client that changes the namespace of a context puts the new one before the old and sends both. A comma alone is part
 * of a value: the id of a lease may have one.
 */
export function findCallHeader(context: HandlerContext, name: string): string | undefined {
  const text = context instanceof LazyContext ? context.findHeader(name) : context.requestHeader.get(name);
  return text?.split(", ", 1)[0]?.trim() || undefined;
}

/**
 * This returns the namespace that the request header `name` gives, `undefined` when there is none.
 * @throws invalid_argument - it is not a valid identifier
 */
export function findCallNamespace(context: HandlerContext, name: string): Namespace | undefined {
  const text = findCallHeader(context, name);
  return text === undefined ? undefined : parseNamespace(text);
}

/**
 * This returns the namespace that the request header `name` gives.
 * @throws failed_precondition - there is none
 * @throws invalid_argument - it is not a valid identifier
 */
export function getCallNamespace(context: HandlerContext, name: string): Namespace {
  const namespace = findCallNamespace(context, name);
  if (namespace === undefined) throw failedPrecondition("namespace is required");
  return namespace;
}
