import type { MessagePort } from "node:worker_threads";

import { canceled } from "@berth/errors";

import { fromRemoteError, type RemoteError, toRemoteError } from "./remote-error.ts";

/** What the reading side gets for each of its requests. */
type ChunkAnswer =
  | { readonly kind: "chunk"; readonly bytes: Uint8Array }
  | { readonly kind: "end" }
  | { readonly kind: "error"; readonly error: RemoteError };

/**
 * This yields the chunks of the port's other side. Each is asked for when the one before was taken, so that no more than
 * one waits. Closes the port in the end.
 *
 * @throws canceled - the other side closed the port
 */
export async function* portChunks(port: MessagePort): AsyncGenerator<Uint8Array, void, undefined> {
  const closed: ChunkAnswer = { kind: "error", error: toRemoteError(canceled("work on the layer was cancelled")) };
  let isClosed = false;
  let resolve: (answer: ChunkAnswer) => void = () => {};
  // The other side is `serveChunks`, which sends nothing else.
  port.on("message", (answer: ChunkAnswer) => resolve(answer));
  port.once("close", () => {
    isClosed = true;
    resolve(closed);
  });
  try {
    for (;;) {
      const { promise, ...answered } = Promise.withResolvers<ChunkAnswer>();
      resolve = answered.resolve;
      if (isClosed) resolve(closed);
      else port.postMessage("next");
      const answer = await promise;
      if (answer.kind === "end") return;
      if (answer.kind === "error") throw fromRemoteError(answer.error);
      yield answer.bytes;
    }
  } finally {
    port.close();
  }
}

/**
 * This is the other side of {@link portChunks}: it answers each request with the next chunk, until either side closes the
 * port. Then it closes `chunks` and resolves. The bytes are given away.
 */
export async function serveChunks(port: MessagePort, chunks: AsyncIterable<Uint8Array>): Promise<void> {
  const iterator = chunks[Symbol.asyncIterator]();
  const { promise, resolve } = Promise.withResolvers<void>();
  port.once("close", resolve);
  port.on("message", () => {
    void nextAnswer(iterator).then((answer) => port.postMessage(answer, transferable(answer)));
  });
  await promise;
  await iterator.return?.();
}

/** Never rejects. */
async function nextAnswer(iterator: AsyncIterator<Uint8Array>): Promise<ChunkAnswer> {
  try {
    const { value, done } = await iterator.next();
    return done === true ? { kind: "end" } : { kind: "chunk", bytes: value };
  } catch (error) {
    return { kind: "error", error: toRemoteError(error) };
  }
}

/** A part of a larger buffer is copied: what else is in it belongs to others. */
function transferable(answer: ChunkAnswer): ArrayBuffer[] {
  if (answer.kind !== "chunk") return [];
  const { buffer, byteLength } = answer.bytes;
  return buffer instanceof ArrayBuffer && buffer.byteLength === byteLength ? [buffer] : [];
}
