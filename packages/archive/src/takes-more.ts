import type { Writable } from "node:stream";

const EVENTS = ["drain", "close", "end"] as const;

/** This resolves when a stream takes more, or never will: it is gone, or what reads it has all that it wants. */
export function takesMore(stream: Writable): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      for (const event of EVENTS) stream.off(event, done);
      resolve();
    };
    if (stream.destroyed || !stream.writableNeedDrain) return resolve();
    for (const event of EVENTS) stream.on(event, done);
  });
}
