import { DataSchema, WindowUpdateSchema } from "@berth/api/containerd/types/transfer/streaming";
import type { CallOptions } from "@berth/core/any";
import type { Stream } from "@berth/core/streaming";
import { invalidArgument, unavailable } from "@berth/errors";

import { packMessage, unpackMessage } from "./messages.ts";

/** The most bytes of one message; clients that want smaller ones have smaller windows. */
const CHUNK_BYTES = 256 * 1024;
/** So much may be on its way to us; more is asked for when less than half of it is left. */
const WINDOW_BYTES = 1 << 20;
/** A window that would grow beyond this is a mistake of the other side. */
const MAX_WINDOW_BYTES = 2 ** 31 - 1;

/**
 * This yields the bytes that the other side sends, asking for more as they are taken.
 *
 * @throws invalid_argument - something else is sent
 * @see containerd core/transfer/streaming/reader.go
 */
export async function* receiveBytes(stream: Stream, options: CallOptions): AsyncGenerator<Uint8Array, void, undefined> {
  let window = 0;
  for (;;) {
    if (window < WINDOW_BYTES / 2) {
      await stream.send(packMessage(WindowUpdateSchema, { update: WINDOW_BYTES }), options);
      window += WINDOW_BYTES;
    }
    const message = await stream.receive(options);
    if (message === undefined) return;
    const { data } = unpackMessage(DataSchema, message);
    window -= data.length;
    if (data.length > 0) yield data;
  }
}

/**
 * This sends bytes as fast as the other side asks for them.
 *
 * @throws unavailable - the other side has ended before it had all; invalid_argument - it sends something else
 * @see containerd core/transfer/streaming/writer.go
 */
export async function sendBytes(
  stream: Stream,
  chunks: AsyncIterable<Uint8Array>,
  options: CallOptions,
): Promise<void> {
  let window = 0;
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length;) {
      while (window <= 0) window += await receiveWindow(stream, options);
      if (window > MAX_WINDOW_BYTES) throw invalidArgument("the window of a stream is too large");
      const data = chunk.subarray(at, at + Math.min(CHUNK_BYTES, window));
      await stream.send(packMessage(DataSchema, { data }), options);
      at += data.length;
      window -= data.length;
    }
  }
}

async function receiveWindow(stream: Stream, options: CallOptions): Promise<number> {
  const message = await stream.receive(options);
  if (message === undefined) throw unavailable("the stream ended before all bytes were sent");
  const { update } = unpackMessage(WindowUpdateSchema, message);
  if (update < 0) throw invalidArgument(`window update of ${update} bytes`);
  return update;
}
