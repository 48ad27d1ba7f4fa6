import { randomUUID } from "node:crypto";

import { StreamInitSchema, Streaming } from "@berth/api/containerd/services/streaming/v1/streaming";
import { Transfer } from "@berth/api/containerd/services/transfer/v1/transfer";
import type { Progress } from "@berth/api/containerd/types/transfer/progress";
import { ProgressSchema } from "@berth/api/containerd/types/transfer/progress";
import type { AnyValue } from "@berth/core/any";
import type { Stream } from "@berth/core/streaming";
import type { DescMessage, MessageInitShape } from "@bufbuild/protobuf";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { Transport } from "@connectrpc/connect";
import { createClient } from "@connectrpc/connect";

/** A message in a value, under its bare name. */
export function pack<D extends DescMessage>(schema: D, message: MessageInitShape<D>): AnyValue {
  return { typeUrl: schema.typeName, value: toBinary(schema, create(schema, message)) };
}

/** The client's side of a stream of the daemon. */
export interface OpenStream extends Stream {
  readonly id: string;
}

/** This opens a stream, under an id of its own as containerd's clients do unless one is given. */
export async function openStream(transport: Transport, id: string = randomUUID()): Promise<OpenStream> {
  const waiting: AnyValue[] = [pack(StreamInitSchema, { id })];
  let changed = Promise.withResolvers<void>();
  let isClosed = false;
  const notify = (): void => {
    changed.resolve();
    changed = Promise.withResolvers();
  };
  async function* requests(): AsyncGenerator<AnyValue> {
    for (;;) {
      const next = waiting.shift();
      if (next !== undefined) yield next;
      else if (isClosed) return;
      else await changed.promise;
    }
  }
  const answers = createClient(Streaming, transport).stream(requests())[Symbol.asyncIterator]();
  await answers.next();
  return {
    id,
    send: async (message) => {
      waiting.push(message);
      notify();
    },
    receive: async () => {
      const { done, value } = await answers.next();
      return done === true ? undefined : value;
    },
    close: () => {
      isClosed = true;
      notify();
    },
  };
}

/** This asks for a transfer and returns what was told of its progress. */
export async function transfer(
  transport: Transport,
  source: AnyValue,
  destination: AnyValue,
  { signal }: { readonly signal?: AbortSignal } = {},
): Promise<readonly Progress[]> {
  const stream = await openStream(transport);
  const steps: Progress[] = [];
  const reading = (async () => {
    for (let next = await stream.receive(); next !== undefined; next = await stream.receive())
      steps.push(fromBinary(ProgressSchema, next.value));
  })();
  try {
    await createClient(Transfer, transport).transfer(
      { source, destination, options: { progressStream: stream.id } },
      signal === undefined ? {} : { signal },
    );
    await reading;
  } finally {
    stream.close();
    await reading.catch(() => {});
  }
  return steps;
}
