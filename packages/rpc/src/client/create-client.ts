import type {
  DescMessage,
  DescMethodServerStreaming,
  DescService,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import type { CallOptions, Client, Transport } from "@connectrpc/connect";
import { createClient as createConnectClient } from "@connectrpc/connect";

/**
 * This makes a typed client, as Connect's `createClient` does, with one difference: leaving the messages of a
 * server-streaming call early (`break`, `return`) cancels the call. Connect's own clients leave it running.
 */
export function createClient<S extends DescService>(service: S, transport: Transport): Client<S> {
  const client = createConnectClient(service, transport);
  const streams: Record<string, unknown> = {};
  for (const method of service.methods) {
    if (method.methodKind === "server_streaming") {
      streams[method.localName] = (input: MessageInitShape<DescMessage>, options?: CallOptions) =>
        serverStream(transport, method, input, options);
    }
  }
  // The replaced methods have the signatures that `Client` gives server-streaming methods.
  return Object.assign(client, streams as Partial<Client<S>>);
}

async function* serverStream(
  transport: Transport,
  method: DescMethodServerStreaming,
  input: MessageInitShape<DescMessage>,
  options: CallOptions = {},
): AsyncIterable<MessageShape<DescMessage>> {
  const { signal, timeoutMs, headers, contextValues } = options;
  const response = await transport.stream(method, signal, timeoutMs, headers, once(input), contextValues);
  options.onHeader?.(response.header);
  yield* response.message;
  options.onTrailer?.(response.trailer);
}

async function* once<T>(value: T): AsyncIterable<T> {
  yield value;
}
