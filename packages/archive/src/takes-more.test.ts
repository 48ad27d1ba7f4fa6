import { PassThrough, Writable } from "node:stream";
import { setImmediate as turn } from "node:timers/promises";

import { describe, expect, it } from "vitest";

import { takesMore } from "./takes-more.ts";

const LISTENED = ["drain", "close", "end"];

/** A stream that is full, and what it is to go on. */
function fullStream(): { readonly stream: Writable; readonly goOn: () => void } {
  let goOn = (): void => {};
  const stream = new Writable({ highWaterMark: 1, write: (_chunk, _encoding, done) => void (goOn = done) });
  stream.on("error", () => {});
  stream.write("xx");
  return { stream, goOn: () => goOn() };
}

describe("takesMore", () => {
  it.each<readonly [string, (full: ReturnType<typeof fullStream>) => void]>([
    ["has sent what it had", ({ goOn }) => goOn()],
    ["is closed", ({ stream }) => void stream.destroy()],
    ["fails", ({ stream }) => void stream.destroy(new Error("EPIPE"))],
  ])("waits until the stream %s, and leaves no listeners", async (_case, change) => {
    const full = fullStream();
    const counts = LISTENED.map((event) => full.stream.listenerCount(event));
    let isOver = false;
    const waiting = takesMore(full.stream).then(() => (isOver = true));
    for (let turns = 0; turns < 3; turns += 1) await turn();
    expect(isOver).toBe(false);
    change(full);
    await waiting;
    expect(LISTENED.map((event) => full.stream.listenerCount(event))).toEqual(counts);
  });

  it("waits for nothing of a stream that is gone, or that takes more now", async () => {
    const { stream } = fullStream();
    stream.destroy();
    await takesMore(stream);
    await takesMore(new Writable({ write: (_chunk, _encoding, done) => done() }));
  });

  it("waits no more once the reader has the end", async () => {
    const stream = new PassThrough({ highWaterMark: 1, autoDestroy: false });
    expect(stream.write("xx")).toBe(false);
    const waiting = takesMore(stream);
    stream.emit("end");
    await waiting;
  });
});
