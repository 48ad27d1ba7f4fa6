import { Streaming } from "@berth/api/containerd/services/streaming/v1/streaming";
import type { AnyValue } from "@berth/core/any";
import type { StreamRegistry } from "@berth/core/streaming";
import { leaseOf, namespaceOf } from "@berth/rpc";
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";

import { serveStream } from "./serve-stream.ts";

export { Streaming };

/** Where streams are registered, and forgotten when they are over. */
export interface StreamingServiceOptions {
  readonly streams: StreamRegistry;
  /** How long a client may take to name its stream; 30 s by default. */
  readonly initTimeoutMs?: number;
}

/** This serves `containerd.services.streaming.v1.Streaming` to the clients of all namespaces. */
export function createStreamingService(options: StreamingServiceOptions): ServiceImpl<typeof Streaming> {
  return { stream: (messages, context) => serve(options, messages, context) };
}

async function* serve(
  { streams, initTimeoutMs }: StreamingServiceOptions,
  messages: AsyncIterable<AnyValue>,
  context: HandlerContext,
): AsyncGenerator<AnyValue> {
  const namespace = namespaceOf(context);
  const lease = leaseOf(context);
  yield* serveStream(messages, {
    signal: context.signal,
    initTimeoutMs,
    register: (id, stream) => streams.register(namespace, id, stream, { lease }),
    unregister: (id, stream) => streams.unregister(namespace, id, stream),
  });
}
