import type { ClientHttp2Session } from "node:http2";

import type {
  DescMessage,
  DescMethod,
  DescMethodUnary,
  DescService,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import type { ConnectError, UnaryResponse } from "@connectrpc/connect";
import type { CallLimits } from "@berth/core/call-limits";
import { unimplemented } from "@berth/errors";

import { encodeFrame } from "../wire/frame.ts";
import { decodeMessage, encodeMessage } from "../wire/message.ts";
import { MessageSource } from "../wire/message-source.ts";
import type { WireHeaders } from "../wire/status.ts";
import { metadataOf } from "../wire/status.ts";
import { GrpcRequest } from "./grpc-request.ts";

/** What one call needs to be made. */
export interface CallPlan<M extends DescMethod> {
  readonly session: ClientHttp2Session;
  readonly method: M;
  readonly headers: WireHeaders;
  readonly limits: CallLimits;
  readonly maxBytes: number;
}

/** This makes a unary call and resolves with its answer. */
export async function callUnary<I extends DescMessage, O extends DescMessage>(
  plan: CallPlan<DescMethodUnary<I, O>>,
  input: MessageInitShape<I>,
): Promise<UnaryResponse<I, O>> {
  const { method, maxBytes } = plan;
  const frame = encodeFrame(encodeMessage(method.input, input, maxBytes));
  const request = new GrpcRequest(plan.session, plan.headers, plan.limits);
  const ended = whenEnded(request);
  const source = sourceOf(request, method.output, maxBytes);
  request.stream.end(frame);
  // Read both before waiting, so that each has a listener when the call fails.
  const [first, second] = [source.next(), source.next()];
  const error = await ended;
  if (error !== undefined) source.fail(error);
  const [answer, extra] = await Promise.all([first, second]);
  if (error !== undefined) throw error;
  if (answer.done === true) throw unimplemented("peer answers without a message");
  if (extra.done !== true) throw unimplemented("peer answers with more than one message");
  return new GrpcUnaryResponse(method, answer.value, request);
}

function whenEnded(request: GrpcRequest): Promise<ConnectError | undefined> {
  return new Promise((resolve) => {
    request.onEnd = resolve;
  });
}

/** This reads the messages a server sends. */
export function sourceOf<O extends DescMessage>(
  request: GrpcRequest,
  output: O,
  maxBytes: number,
  onReturn?: () => void,
): MessageSource<MessageShape<O>> {
  return new MessageSource(request.stream, {
    maxBytes,
    // Asked for when the first compressed message is read: the headers have arrived by then.
    encoding: () => single(request.headers["grpc-encoding"]),
    decode: (data) => decodeMessage(output, data),
    onReturn,
  });
}

function single(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value;
}

/** The answer of a unary call; its headers become `Headers` when somebody asks for them. */
class GrpcUnaryResponse<I extends DescMessage, O extends DescMessage> implements UnaryResponse<I, O> {
  readonly stream = false;
  readonly method: DescMethodUnary<I, O>;
  readonly message: MessageShape<O>;
  readonly #request: GrpcRequest;

  constructor(method: DescMethodUnary<I, O>, message: MessageShape<O>, request: GrpcRequest) {
    this.method = method;
    this.message = message;
    this.#request = request;
  }

  get service(): DescService {
    return this.method.parent;
  }

  get header(): Headers {
    return metadataOf(this.#request.headers);
  }

  get trailer(): Headers {
    return metadataOf(this.#request.trailers);
  }
}
