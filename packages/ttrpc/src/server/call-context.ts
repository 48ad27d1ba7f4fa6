import type { DescMethod, DescService } from "@bufbuild/protobuf";
import type { ConnectError, ContextValues, HandlerContext } from "@connectrpc/connect";
import { createContextValues } from "@connectrpc/connect";
import { canceled } from "@berth/errors";

import type { MetadataPair } from "../wire/metadata.ts";
import { fromMetadata } from "../wire/metadata.ts";

/** The reason of a signal whose call has been answered: made once, since an error per call costs more than the call. */
let callIsOver: ConnectError | undefined;

/** The reason with which a call that has been answered is ended. */
export function callIsOverError(): ConnectError {
  return (callIsOver ??= canceled("the call is over"));
}

/** A `HandlerContext` whose parts are made when a handler first asks for them. */
export class CallContext implements HandlerContext {
  readonly method: DescMethod;
  readonly protocolName = "ttrpc";
  readonly requestMethod = "POST";
  readonly #metadata: readonly MetadataPair[];
  readonly #deadlineMs: number | undefined;
  #requestHeader: Headers | undefined;
  #responseHeader: Headers | undefined;
  #responseTrailer: Headers | undefined;
  #values: ContextValues | undefined;
  #controller: AbortController | undefined;
  #abortReason: ConnectError | undefined;
  #isFinished = false;

  constructor(method: DescMethod, metadata: readonly MetadataPair[], timeoutMs: number | undefined) {
    this.method = method;
    this.#metadata = metadata;
    this.#deadlineMs = timeoutMs === undefined ? undefined : Date.now() + timeoutMs;
  }

  get service(): DescService {
    return this.method.parent;
  }

  get url(): string {
    return `ttrpc:///${this.method.parent.typeName}/${this.method.name}`;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#isFinished) this.finish();
      if (this.#abortReason !== undefined) this.#controller.abort(this.#abortReason);
    }
    return this.#controller.signal;
  }

  readonly timeoutMs = (): number | undefined =>
    this.#deadlineMs === undefined ? undefined : this.#deadlineMs - Date.now();

  get requestHeader(): Headers {
    return (this.#requestHeader ??= fromMetadata(this.#metadata));
  }

  /** This returns one value of the metadata without making the whole `Headers`. */
  findMetadata(key: string): string | undefined {
    return this.#metadata.find((pair) => pair.key.toLowerCase() === key)?.value;
  }

  /** ttrpc sends no headers with its answers: what a handler puts here goes nowhere. */
  get responseHeader(): Headers {
    return (this.#responseHeader ??= new Headers());
  }

  /** See {@link responseHeader}. */
  get responseTrailer(): Headers {
    return (this.#responseTrailer ??= new Headers());
  }

  get values(): ContextValues {
    return (this.#values ??= createContextValues());
  }

  /** This aborts the signal, now or when it is first asked for; the first reason stays. */
  abort(reason: ConnectError): void {
    if (this.#abortReason !== undefined) return;
    this.#abortReason = reason;
    this.#controller?.abort(reason);
  }

  /** This ends the call: its signal is aborted, so that work begun under it stops. */
  finish(): void {
    // A signal that nobody has asked for needs no reason yet.
    if (this.#controller !== undefined) this.abort(callIsOverError());
    else this.#isFinished = true;
  }
}
