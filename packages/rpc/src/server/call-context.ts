import type { DescMethod } from "@bufbuild/protobuf";
import type { ContextValues, HandlerContext } from "@connectrpc/connect";
import { LazyContext } from "@berth/core/call-context";

import type { WireHeaders } from "../wire/status.ts";
import { metadataOf } from "../wire/status.ts";

/** What is known of a call when it arrives. */
export interface CallFacts {
  readonly method: DescMethod;
  readonly protocolName: string;
  readonly requestMethod: string;
  readonly url: string;
  readonly headers: WireHeaders;
  readonly timeoutMs: number | undefined;
}

/** The context of a call that came over HTTP. */
export class CallContext extends LazyContext {
  readonly protocolName: string;
  readonly requestMethod: string;
  readonly url: string;
  readonly #headers: WireHeaders;

  constructor(facts: CallFacts) {
    super(facts.method, facts.timeoutMs);
    this.protocolName = facts.protocolName;
    this.requestMethod = facts.requestMethod;
    this.url = facts.url;
    this.#headers = facts.headers;
  }

  protected readHeaders(): Headers {
    return metadataOf(this.#headers);
  }

  protected readHeader(name: string): string | undefined {
    const value = this.#headers[name];
    return Array.isArray(value) ? value.join(", ") : value;
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
