import type { Readable } from "node:stream";

import { ChunkQueue } from "../chunk-queue.ts";

/** So much of a body may wait for its reader; then the connection waits. */
const READ_AHEAD_BYTES = 1 << 20;

/**
 * This yields the chunks of a body as they came, but for small ones, which come together: a stream that is iterated copies whatever has come meanwhile into one new piece for each
 * step. Leaving the loop closes the body.
 */
export async function* bodyChunks(body: Readable): AsyncGenerator<Uint8Array, void, undefined> {
  const waiting = new ChunkQueue();
  let outcome: { readonly error?: unknown } | undefined;
  let wake = (): void => {};
  const end = (error?: unknown): void => {
    outcome ??= error === undefined ? {} : { error };
    wake();
  };
  const close = (): void => end(body.readableEnded ? undefined : (body.errored ?? new Error("the body was cut off")));
  body.once("end", () => end());
  body.once("close", close);
  // Stays to the end: whoever leaves the loop is told of nothing any more.
  body.on("error", end);
  body.on("data", (chunk: Uint8Array) => {
    waiting.push(chunk);
    if (waiting.bytes >= READ_AHEAD_BYTES) body.pause();
    wake();
  });
  // What was over before anyone read it tells nothing any more.
  if (body.destroyed || body.readableEnded) close();
  try {
    for (;;) {
      for (let chunk = waiting.shift(); chunk !== undefined; chunk = waiting.shift()) {
        yield chunk;
        if (body.isPaused() && waiting.bytes < READ_AHEAD_BYTES / 2) body.resume();
      }
      if (outcome?.error !== undefined) throw outcome.error;
      if (outcome !== undefined) return;
      await new Promise<void>((resolve) => (wake = resolve));
    }
  } finally {
    body.destroy();
  }
}
