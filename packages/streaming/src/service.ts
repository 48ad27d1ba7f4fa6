import { StreamInitSchema, Streaming } from "@berth/api/containerd/services/streaming/v1/streaming";
import type { AnyValue } from "@berth/core/any";
import { raceSignal } from "@berth/core/race-signal";
import type { StreamRegistry } from "@berth/core/streaming";
import { deadlineExceeded, invalidArgument } from "@berth/errors";
import { leaseOf, namespaceOf } from "@berth/rpc";
import { fromBinary } from "@bufbuild/protobuf";
import { EmptySchema } from "@bufbuild/protobuf/wkt";
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";

import { ServiceStream } from "./service-stream.ts";

export { Streaming };

/** Where streams are registered, and forgotten when they are over. */
export interface StreamingServiceOptions {
  readonly streams: StreamRegistry;
  /** How long a client may take to name its stream; 30 s by default. */
  readonly initTimeoutMs?: number;
}

const INIT_TIMEOUT_MS = 30_000;
const ACKNOWLEDGEMENT: AnyValue = { typeUrl: EmptySchema.typeName, value: new Uint8Array(0) };

/**
 * This serves `containerd.services.streaming.v1.Streaming`: a stream is there from the acknowledgement of its first message until
 * the client leaves or a service closes it.
 *
 * @see containerd plugins/services/streaming/service.go
 */
export function createStreamingService(options: StreamingServiceOptions): ServiceImpl<typeof Streaming> {
  return { stream: (messages, context) => serve(options, messages, context) };
}

async function* serve(
  { streams, initTimeoutMs = INIT_TIMEOUT_MS }: StreamingServiceOptions,
  messages: AsyncIterable<AnyValue>,
  context: HandlerContext,
): AsyncGenerator<AnyValue> {
  const namespace = namespaceOf(context);
  const incoming = messages[Symbol.asyncIterator]();
  const id = await readInit(incoming, initTimeoutMs);
  const onClose = (closed: ServiceStream): void => streams.unregister(namespace, id, closed);
  context.signal.throwIfAborted();
  const stream = new ServiceStream(incoming, { signal: context.signal, onClose });
  streams.register(namespace, id, stream, { lease: leaseOf(context) });
  try {
    yield ACKNOWLEDGEMENT;
    yield* stream.outgoing();
  } finally {
    stream.close();
  }
}

async function readInit(incoming: AsyncIterator<AnyValue>, timeoutMs: number): Promise<string> {
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(deadlineExceeded("no stream was named in time")), timeoutMs);
  try {
    const first = await raceSignal(incoming.next(), late.signal);
    if (first.done === true) throw invalidArgument("the first message must name the stream");
    const { typeUrl, value } = first.value;
    if (typeUrl.slice(typeUrl.lastIndexOf("/") + 1) !== StreamInitSchema.typeName) {
      throw invalidArgument(`the first message must name the stream, not be ${JSON.stringify(typeUrl)}`);
    }
    return decodeInit(value);
  } finally {
    clearTimeout(timer);
  }
}

function decodeInit(value: Uint8Array): string {
  try {
    return fromBinary(StreamInitSchema, value).id;
  } catch (error) {
    throw invalidArgument("malformed first message of a stream", { cause: error });
  }
}
