import { once } from "node:events";
import { duplexPair } from "node:stream";

import { Code, codeOf } from "@berth/errors";
import { describe, expect, it } from "vitest";

import { encodeMuxFrames } from "./mux-frame.ts";
import { Multiplexer } from "./multiplexer.ts";

function pair(): { readonly left: Multiplexer; readonly right: Multiplexer } {
  const [one, other] = duplexPair();
  return { left: new Multiplexer(one), right: new Multiplexer(other) };
}

describe("Multiplexer", () => {
  it("carries several connections, each way, and drops what nobody has opened", async () => {
    const { left, right } = pair();
    const [a, b, unknown] = [left.open(1), left.open(2), left.open(9)];
    const [x, y] = [right.open(1), right.open(2)];
    unknown.write("dropped");
    b.write("to b");
    y.write("to y");
    a.write("to a");
    expect(String((await once(y, "data"))[0])).toBe("to b");
    expect(String((await once(x, "data"))[0])).toBe("to a");
    expect(String((await once(b, "data"))[0])).toBe("to y");
    left.close();
    expect(await right.closed).toBeUndefined();
    await expect.poll(() => x.destroyed && y.destroyed).toBe(true);
  });

  it.each([0, 1])("refuses to open %d (reserved, or open)", (id) => {
    const { left } = pair();
    left.open(1);
    expect(() => left.open(id)).toThrow();
  });

  it("sends what was written before it is closed", async () => {
    const { left, right } = pair();
    const x = right.open(1);
    const chunks: Buffer[] = [];
    x.on("data", (chunk: Buffer) => chunks.push(chunk));
    left.open(1).write(Buffer.alloc(1_000_000, 7));
    left.close();
    await right.closed;
    expect(Buffer.concat(chunks).length).toBe(1_000_000);
  });

  it("ends though the peer does not take what was written before", async () => {
    const [trunk] = duplexPair();
    const multiplexer = new Multiplexer(trunk);
    for (let i = 0; i < 10; i += 1) multiplexer.open(i + 1).write(Buffer.alloc(1_000_000, 7));
    multiplexer.close();
    expect(trunk.destroyed).toBe(false);
    await expect.poll(() => trunk.destroyed, { timeout: 10_000 }).toBe(true);
  });

  it("stops reading while one connection is not read, and goes on after it", async () => {
    const [trunk, peer] = duplexPair();
    const multiplexer = new Multiplexer(trunk);
    const slow = multiplexer.open(1);
    const other = multiplexer.open(2);
    let received = 0;
    other.on("data", (chunk: Buffer) => (received += chunk.length));
    for (let i = 0; i < 100; i += 1) for (const part of encodeMuxFrames(1, Buffer.alloc(10_000))) peer.write(part);
    for (const part of encodeMuxFrames(2, Buffer.from("late"))) peer.write(part);
    await expect.poll(() => trunk.isPaused()).toBe(true);
    expect(received).toBe(0);
    expect(slow.readableLength).toBeLessThan(200_000);
    slow.resume();
    await expect.poll(() => received).toBe(4);
  });

  it("goes on when the connection that was not read is destroyed", async () => {
    const [trunk, peer] = duplexPair();
    const multiplexer = new Multiplexer(trunk);
    const slow = multiplexer.open(1);
    const other = multiplexer.open(2);
    for (const part of encodeMuxFrames(1, Buffer.alloc(500_000))) peer.write(part);
    for (const part of encodeMuxFrames(2, Buffer.from("late"))) peer.write(part);
    await expect.poll(() => trunk.isPaused()).toBe(true);
    slow.destroy();
    expect(String((await once(other, "data"))[0])).toBe("late");
  });

  it("ends everything when a frame is too long", async () => {
    const [trunk, peer] = duplexPair();
    const multiplexer = new Multiplexer(trunk);
    const connection = multiplexer.open(1);
    peer.write(Buffer.from([0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]));
    expect(codeOf(await multiplexer.closed)).toBe(Code.ResourceExhausted);
    expect(connection.destroyed && trunk.destroyed).toBe(true);
    expect(multiplexer.open(2).destroyed).toBe(true);
  });
});
