import type { DescMessage, DescMethodStreaming, DescService, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import type { CallOptions, Client, Transport } from "@connectrpc/connect";
import { createClient as createConnectClient } from "@connectrpc/connect";

type AnyInit = MessageInitShape<DescMessage>;

/**
 * This makes a typed client, as Connect's `createClient` does, with one difference: leaving the messages of a call early
 * (`break`, `return`) cancels the call. Connect's own clients leave it running.
 */
export function createClient<S extends DescService>(service: S, transport: Transport): Client<S> {
  const client = createConnectClient(service, transport);
  const streams: Record<string, unknown> = {};
  for (const method of service.methods) {
    if (method.methodKind === "server_streaming") {
      streams[method.localName] = (input: AnyInit, options?: CallOptions) =>
        // Just checked: a server-streaming method is a streaming one.
        answers(transport, method as DescMethodStreaming, once(input), options);
    } else if (method.methodKind === "bidi_streaming") {
      streams[method.localName] = (input: AsyncIterable<AnyInit>, options?: CallOptions) =>
        // Just checked: see above.
        answers(transport, method as DescMethodStreaming, input, options);
    }
  }
  // The replaced methods have the signatures that `Client` gives them.
  return Object.assign(client, streams as Partial<Client<S>>);
}

async function* answers(
  transport: Transport,
  method: DescMethodStreaming,
  input: AsyncIterable<AnyInit>,
  options: CallOptions = {},
): AsyncIterable<MessageShape<DescMessage>> {
  const { signal, timeoutMs, headers, contextValues } = options;
  const response = await transport.stream(method, signal, timeoutMs, headers, input, contextValues);
  options.onHeader?.(response.header);
  yield* response.message;
  options.onTrailer?.(response.trailer);
}

async function* once<T>(value: T): AsyncIterable<T> {
  yield value;
}
