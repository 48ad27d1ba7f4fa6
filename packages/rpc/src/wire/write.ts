import type { Writable } from "node:stream";

/**
 * This writes a chunk and resolves when the stream can take more, or is gone: with the flow control of HTTP/2 behind it,
 * a slow reader slows its writer down instead of filling memory. Returns `undefined` when nothing has to be waited for.
 */
export function writeOrWait(stream: Writable, chunk: Uint8Array): Promise<void> | undefined {
  if (stream.write(chunk)) return undefined;
  if (stream.destroyed) return undefined;
  return new Promise((resolve) => {
    const done = (): void => {
      stream.off("drain", done);
      stream.off("close", done);
      resolve();
    };
    stream.on("drain", done);
    stream.on("close", done);
  });
}
