import type { DescMessage, DescMethodStreaming, MessageInitShape } from "@bufbuild/protobuf";
import { ConnectError } from "@connectrpc/connect";
import type { StreamResponse } from "@connectrpc/connect";
import { canceled } from "@berth/errors";

import { encodeFrame } from "../wire/frame.ts";
import { encodeMessage } from "../wire/message.ts";
import type { MessageSource } from "../wire/message-source.ts";
import { metadataOf } from "../wire/status.ts";
import { writeOrWait } from "../wire/write.ts";
import { GrpcRequest } from "./grpc-request.ts";
import type { CallPlan } from "./unary-call.ts";
import { sourceOf } from "./unary-call.ts";

/**
 * This makes a streaming call and resolves when its headers have arrived. Its messages are read as they are asked for;
 * leaving them early (`return`) cancels the call. `onEnd` is called once, when the call has its outcome.
 */
export async function callStream<I extends DescMessage, O extends DescMessage>(
  plan: CallPlan<DescMethodStreaming<I, O>>,
  input: AsyncIterable<MessageInitShape<I>>,
  onEnd: () => void,
): Promise<StreamResponse<I, O>> {
  const { method } = plan;
  const request = new GrpcRequest(plan.session, plan.headers, plan.limits);
  const source = sourceOf(request, method.output, plan.maxBytes, () => request.cancel(canceled("the reader left")));
  const answered = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<ConnectError | undefined>();
  request.onHeaders = answered.resolve;
  request.onEnd = (error) => {
    onEnd();
    if (error !== undefined) source.fail(error);
    ended.resolve(error);
    answered.resolve();
  };
  void sendAll(plan, request, input[Symbol.asyncIterator](), ended.promise);
  await answered.promise;
  return {
    stream: true,
    service: method.parent,
    method,
    get header() {
      return metadataOf(request.headers);
    },
    // Trailers exist after the last message: they are made when asked for.
    get trailer() {
      return metadataOf(request.trailers);
    },
    message: readAll(source, ended.promise),
  };
}

/** The messages, and after the last of them the status: an error announced by the trailers is thrown there. */
function readAll<T>(source: MessageSource<T>, ended: Promise<ConnectError | undefined>): AsyncIterable<T> {
  const iterator: AsyncIterableIterator<T, undefined> = {
    [Symbol.asyncIterator]: () => iterator,
    async next() {
      const result = await source.next();
      if (result.done !== true) return result;
      const error = await ended;
      if (error !== undefined) throw error;
      return result;
    },
    return: () => source.return(),
  };
  return iterator;
}

async function sendAll<I extends DescMessage>(
  plan: CallPlan<DescMethodStreaming<I, DescMessage>>,
  request: GrpcRequest,
  input: AsyncIterator<MessageInitShape<I>>,
  ended: Promise<unknown>,
): Promise<void> {
  // A server that answers early does not read on: the input is left as soon as the call is over.
  void ended.then(() => input.return?.()).catch(() => {});
  try {
    for (let next = await input.next(); next.done !== true; next = await input.next()) {
      if (request.isOver || request.stream.destroyed) return;
      const frame = encodeFrame(encodeMessage(plan.method.input, next.value, plan.maxBytes));
      await writeOrWait(request.stream, frame);
    }
    if (!request.stream.destroyed) request.stream.end();
  } catch (error) {
    request.cancel(ConnectError.from(error));
  }
}
