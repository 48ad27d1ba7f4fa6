import type { DescMessage, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { create, isMessage } from "@bufbuild/protobuf";
import type {
  HandlerContext,
  Interceptor,
  MethodImplSpec,
  StreamRequest,
  StreamResponse,
  UnaryRequest,
  UnaryResponse,
} from "@connectrpc/connect";

import { deriveContext } from "./call-context.ts";

/** Any message: which one it is, the method descriptor knows. */
export type AnyMessage = MessageShape<DescMessage>;
export type AnyInit = MessageInitShape<DescMessage>;

/** What answers the methods of a kind. The request of the first two is one message. */
export type UnarySpec = Extract<MethodImplSpec, { kind: "unary" }>;
export type ServerStreamSpec = Extract<MethodImplSpec, { kind: "server_streaming" }>;
export type StreamSpec = Exclude<MethodImplSpec, UnarySpec | ServerStreamSpec>;
type AnyCall = (request: UnaryRequest | StreamRequest) => Promise<UnaryResponse | StreamResponse>;

/** This calls a unary handler through the interceptors; without any it is a plain call, and may answer synchronously. */
export function invokeUnary(
  spec: UnarySpec,
  message: AnyMessage,
  context: HandlerContext,
  interceptors: readonly Interceptor[],
): Promise<AnyInit> | AnyInit {
  if (interceptors.length === 0) return spec.impl(message, context);
  return interceptUnary(spec, message, context, interceptors);
}

async function interceptUnary(
  spec: UnarySpec,
  message: AnyMessage,
  context: HandlerContext,
  interceptors: readonly Interceptor[],
): Promise<AnyInit> {
  const call = wrap(interceptors, async (request) => {
    // A unary method gets unary requests: interceptors pass on what they were given.
    const { message: input } = request as UnaryRequest;
    const output = await spec.impl(input, contextOf(context, request));
    return { ...responseOf(context), stream: false, method: spec.method, message: normalize(spec, output) };
  });
  const response = await call({ ...requestOf(context), stream: false, method: spec.method, message });
  copyHeaders(response, context);
  // See above: a unary request has a unary response.
  return (response as UnaryResponse).message;
}

/** This calls a handler that answers one message with many, through the interceptors, and returns the messages it answers with. */
export function invokeServerStream(
  spec: ServerStreamSpec,
  message: AnyMessage,
  context: HandlerContext,
  interceptors: readonly Interceptor[],
): AsyncIterable<AnyInit> {
  if (interceptors.length === 0) return spec.impl(message, context);
  return interceptStream(spec, justOne(message), context, interceptors);
}

async function* justOne(message: AnyMessage): AsyncIterable<AnyMessage> {
  yield message;
}

/** This calls a handler that takes many messages through the interceptors and returns the messages it answers with. */
export function invokeStream(
  spec: StreamSpec,
  messages: AsyncIterable<AnyMessage>,
  context: HandlerContext,
  interceptors: readonly Interceptor[],
): AsyncIterable<AnyInit> {
  if (interceptors.length === 0) return callStream(spec, messages, context);
  return interceptStream(spec, messages, context, interceptors);
}

async function* interceptStream(
  spec: StreamSpec | ServerStreamSpec,
  messages: AsyncIterable<AnyMessage>,
  context: HandlerContext,
  interceptors: readonly Interceptor[],
): AsyncIterable<AnyInit> {
  const call = wrap(interceptors, async (request) => {
    // A streaming method gets streaming requests: interceptors pass on what they were given.
    const { message: input } = request as StreamRequest;
    const output = callStream(spec, input, contextOf(context, request));
    return { ...responseOf(context), stream: true, method: spec.method, message: normalizeAll(spec, output) };
  });
  const response = await call({ ...requestOf(context), stream: true, method: spec.method, message: messages });
  copyHeaders(response, context);
  // See above: a streaming request has a streaming response.
  yield* (response as StreamResponse).message;
}

function callStream(
  spec: StreamSpec | ServerStreamSpec,
  messages: AsyncIterable<AnyMessage>,
  context: HandlerContext,
): AsyncIterable<AnyInit> {
  switch (spec.kind) {
    case "bidi_streaming":
      return spec.impl(messages, context);
    case "client_streaming":
      return answerOnce(spec.impl(messages, context));
    case "server_streaming":
      return answerMany(spec, messages, context);
  }
}

async function* answerOnce(answer: Promise<AnyInit>): AsyncIterable<AnyInit> {
  yield await answer;
}

async function* answerMany(
  spec: ServerStreamSpec,
  messages: AsyncIterable<AnyMessage>,
  context: HandlerContext,
): AsyncIterable<AnyInit> {
  for await (const message of messages) {
    yield* spec.impl(message, context);
    return;
  }
}

function wrap(interceptors: readonly Interceptor[], innermost: AnyCall): AnyCall {
  return interceptors.reduceRight<AnyCall>((next, interceptor) => interceptor(next), innermost);
}

function normalize(spec: MethodImplSpec, init: AnyInit): AnyMessage {
  return isMessage(init, spec.method.output) ? init : create(spec.method.output, init);
}

async function* normalizeAll(spec: MethodImplSpec, inits: AsyncIterable<AnyInit>): AsyncIterable<AnyMessage> {
  for await (const init of inits) yield normalize(spec, init);
}

function requestOf(context: HandlerContext) {
  return {
    requestMethod: context.requestMethod,
    url: context.url,
    signal: context.signal,
    header: context.requestHeader,
    service: context.service,
    contextValues: context.values,
  };
}

function responseOf(context: HandlerContext) {
  return { service: context.service, header: context.responseHeader, trailer: context.responseTrailer };
}

function contextOf(context: HandlerContext, request: UnaryRequest | StreamRequest): HandlerContext {
  const unchanged =
    request.header === context.requestHeader &&
    request.signal === context.signal &&
    request.contextValues === context.values;
  return unchanged ? context : deriveContext(context, request);
}

function copyHeaders(response: UnaryResponse | StreamResponse, context: HandlerContext): void {
  if (response.header !== context.responseHeader) {
    response.header.forEach((value, name) => context.responseHeader.set(name, value));
  }
  if (response.trailer !== context.responseTrailer) {
    response.trailer.forEach((value, name) => context.responseTrailer.set(name, value));
  }
}
