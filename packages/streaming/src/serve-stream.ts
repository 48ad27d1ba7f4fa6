import { StreamInitSchema } from "@berth/api/containerd/services/streaming/v1/streaming";
import type { AnyValue } from "@berth/core/any";
import { unpackMessage } from "@berth/core/messages";
import { raceSignal } from "@berth/core/race-signal";
import { deadlineExceeded, invalidArgument } from "@berth/errors";
import { EmptySchema } from "@bufbuild/protobuf/wkt";

import { ServiceStream } from "./service-stream.ts";

/** How one call of the service becomes a stream. */
export interface ServeStreamOptions {
  /** Aborted when the client leaves. */
  readonly signal: AbortSignal;
  /** How long a client may take to name its stream; 30 s by default. */
  readonly initTimeoutMs?: number | undefined;
  /** Makes a named stream known; a throw refuses it. */
  readonly register: (id: string, stream: ServiceStream) => void;
  readonly unregister: (id: string, stream: ServiceStream) => void;
}

const INIT_TIMEOUT_MS = 30_000;
const ACKNOWLEDGEMENT: AnyValue = { typeUrl: EmptySchema.typeName, value: new Uint8Array(0) };

/**
 * This serves one call of `containerd.services.streaming.v1.Streaming`: the stream is there from the acknowledgement of its first
 * message until the client leaves or a service closes it.
 *
 * @throws invalid_argument - the first message does not name the stream
 * @throws deadline_exceeded - there is none in time
 * @see containerd plugins/services/streaming/service.go
 */
export async function* serveStream(
  messages: AsyncIterable<AnyValue>,
  { signal, initTimeoutMs = INIT_TIMEOUT_MS, register, unregister }: ServeStreamOptions,
): AsyncGenerator<AnyValue> {
  const incoming = messages[Symbol.asyncIterator]();
  const id = await readInit(incoming, initTimeoutMs);
  signal.throwIfAborted();
  const stream = new ServiceStream(incoming, { signal, onClose: (closed) => unregister(id, closed) });
  register(id, stream);
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
    return unpackMessage(StreamInitSchema, first.value).id;
  } finally {
    clearTimeout(timer);
  }
}
