import { Events } from "@berth/api/containerd/services/events/v1/events";
import { createUnixTransport } from "@berth/client/transport";
import { invalidArgument, messageOf, resourceExhausted } from "@berth/errors";
import { fromBinary } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import { createClient } from "@connectrpc/connect";

/** As much as a call of the daemon takes. */
const MAX_EVENT_BYTES = 16 * 1024 * 1024;
const TIMEOUT_MS = 60_000;

/** What to publish, and where. */
export interface PublishOptions {
  readonly address: string;
  readonly namespace: string;
  readonly topic: string;
  /** A serialized `google.protobuf.Any`. */
  readonly input: AsyncIterable<Uint8Array>;
}

/**
 * This publishes one event, as old shims do.
 *
 * @throws invalid_argument - there is no topic, or the input is no event; or what the daemon answers
 * @see containerd cmd/containerd/command/publish.go
 */
export async function publish({ address, namespace, topic, input }: PublishOptions): Promise<void> {
  if (topic === "") throw invalidArgument("a topic is required to publish an event");
  const event = parseEvent(await readAll(input));
  const transport = createUnixTransport({ path: address, namespace });
  try {
    await createClient(Events, transport).publish({ topic, event }, { timeoutMs: TIMEOUT_MS });
  } finally {
    transport.close();
  }
}

async function readAll(input: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of input) {
    size += chunk.length;
    if (size > MAX_EVENT_BYTES) throw resourceExhausted(`the event is larger than ${MAX_EVENT_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function parseEvent(bytes: Uint8Array) {
  try {
    return fromBinary(AnySchema, bytes);
  } catch (error) {
    throw invalidArgument(`standard input is no event: ${messageOf(error)}`, { cause: error });
  }
}
