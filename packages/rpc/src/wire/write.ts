import type { Writable } from "node:stream";

import { releaseFrame } from "./frame.ts";

/**
 * This writes a frame and resolves when the stream can take more, or is gone: with the flow control of HTTP/2 behind it,
 * a slow reader slows its writer down instead of filling memory. Returns `undefined` when nothing has to be waited for.
 */
export function writeOrWait(stream: Writable, frame: Uint8Array): Promise<void> | undefined {
  const isTaken = stream.write(frame, (error) => {
    if (error === null || error === undefined) releaseFrame(frame);
  });
  if (isTaken) return undefined;
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
