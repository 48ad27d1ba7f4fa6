import { DataSchema, WindowUpdateSchema } from "@berth/api/containerd/types/transfer/streaming";
import type { AnyValue } from "@berth/core/any";
import { packMessage, unpackMessage } from "@berth/core/messages";
import { unavailable } from "@berth/errors";
import { bulkAny } from "@berth/rpc/client";

import type { OpenStream } from "./open-stream.ts";

/** The most bytes of one message. */
const CHUNK_BYTES = 512 * 1024;
/** So much may be on its way to us; more is asked for when less than half of it is left. */
const WINDOW_BYTES = 4 << 20;

/**
 * This sends bytes as fast as the daemon asks for them, and then the end. A chunk is copied before the next is asked for.
 *
 * @throws unavailable - the daemon has ended the stream before it had all
 * @see containerd core/transfer/streaming/writer.go
 */
export async function sendBytes(stream: OpenStream, chunks: AsyncIterable<Uint8Array>): Promise<void> {
  const updates = stream.messages[Symbol.asyncIterator]();
  let window = 0;
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length;) {
      while (window <= 0) window += await nextUpdate(updates);
      const data = chunk.subarray(at, at + Math.min(CHUNK_BYTES, window));
      stream.send(bulkAny(DataSchema, {}, "data", data));
      at += data.length;
      window -= data.length;
    }
  }
  stream.end();
}

async function nextUpdate(updates: AsyncIterator<AnyValue>): Promise<number> {
  const next = await updates.next();
  if (next.done === true) throw unavailable("the daemon ended the stream before all bytes were sent");
  return unpackMessage(WindowUpdateSchema, next.value).update;
}

/**
 * This yields the bytes that the daemon sends, asking for more as they are taken.
 *
 * @see containerd core/transfer/streaming/reader.go
 */
export async function* receiveBytes(stream: OpenStream): AsyncGenerator<Uint8Array, void, undefined> {
  let window = WINDOW_BYTES;
  stream.send(packMessage(WindowUpdateSchema, { update: window }));
  for await (const message of stream.messages) {
    const { data } = unpackMessage(DataSchema, message);
    window -= data.length;
    if (data.length > 0) yield data;
    if (window >= WINDOW_BYTES / 2) continue;
    stream.send(packMessage(WindowUpdateSchema, { update: WINDOW_BYTES - window }));
    window = WINDOW_BYTES;
  }
}
