import type { ClientHttp2Stream } from "node:http2";
import { connect, constants, createServer } from "node:http2";
import { mkdtemp, rm } from "node:fs/promises";
import * as net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Code, codeOf } from "@berth/errors";

import { createClient, createUnixTransport } from "../src/client/index.ts";
import { describe, expect, it } from "vitest";

import { serviceRoute } from "../src/index.ts";
import { encodeFrame } from "../src/wire/frame.ts";
import { bytes, Echo, startServer, textOf } from "./echo-service.ts";

const CHUNK = 1024 * 1024;

async function temporaryDirectory(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), "berth-rpc-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

async function until(check: () => boolean): Promise<void> {
  await expect.poll(check, { timeout: 10_000 }).toBe(true);
}

/** This calls a method with an empty message, over a connection of its own. */
function call({ path }: { readonly path: string }, method: string) {
  const session = connect("http://localhost", { createConnection: () => net.connect(path) });
  const stream = session.request({
    ":method": "POST",
    ":path": `/berth.test.Echo/${method}`,
    "content-type": "application/grpc",
  });
  stream.on("error", () => {});
  stream.end(encodeFrame(new Uint8Array(0)));
  return { session, stream };
}

describe("back-pressure", () => {
  it("a slow reader holds the handler back, an abandoned one ends it", async () => {
    let sent = 0;
    let returned = false;
    const repeat = async function* () {
      try {
        while (sent++ < 500) yield { value: new Uint8Array(CHUNK) };
      } finally {
        returned = true;
      }
    };
    await using running = await startServer({ routes: [serviceRoute(Echo, { repeat })] });
    const { session, stream } = call(running, "Repeat");
    stream.pause();
    await until(() => sent > 0);
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(sent).toBeLessThan(20);
    expect(returned).toBe(false);
    session.destroy();
    await until(() => returned);
    expect(sent).toBeLessThan(20);
  });

  it("a handler goes on while its message is on its way, and has ended before a single one is taken", async () => {
    let returned = false;
    const repeat = async function* () {
      try {
        yield { value: new Uint8Array(CHUNK) };
      } finally {
        returned = true;
      }
    };
    await using running = await startServer({ routes: [serviceRoute(Echo, { repeat })] });
    const { session, stream } = call(running, "Repeat");
    stream.pause();
    await until(() => returned);
    session.destroy();
  });

  // Node reads nothing from a connection while a write on it waits: with both sides at it, neither would go on.
  it("much goes both ways at once", { timeout: 30_000 }, async () => {
    const value = new Uint8Array(CHUNK).fill(7);
    const count = 64;
    const many = async function* () {
      for (let index = 0; index < count; index += 1) yield { value };
    };
    let taken = 0;
    const talk = async function* (requests: AsyncIterable<unknown>) {
      const taking = (async () => {
        for await (const _ of requests) taken += 1;
      })();
      yield* many();
      await taking;
    };
    await using running = await startServer({ routes: [serviceRoute(Echo, { talk })] });
    await using transport = createUnixTransport({ path: running.path });
    let got = 0;
    for await (const _ of createClient(Echo, transport).talk(many())) got += 1;
    expect([got, taken]).toEqual([count, count]);
  });

  it.each([
    ["Unary", 1, CHUNK],
    ["Repeat", 1, CHUNK],
    ["Repeat", 3, CHUNK],
    ["Repeat", 50, 100],
  ])("%s: %i answers of %i bytes reach a slow reader whole, then the status", async (method, count, bytesEach) => {
    const value = new Uint8Array(bytesEach).fill(7);
    const unary = () => ({ value });
    const repeat = async function* () {
      for (let index = 0; index < count; index += 1) yield { value };
    };
    await using running = await startServer({ routes: [serviceRoute(Echo, { unary, repeat })] });
    const { session, stream } = call(running, method);
    const status = new Promise((resolve) => stream.once("trailers", (trailers) => resolve(trailers["grpc-status"])));
    let size = 0;
    for await (const chunk of stream) {
      size += chunk.length;
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(await status).toBe("0");
    expect(size).toBeGreaterThan(count * bytesEach);
    expect(size).toBeLessThan(count * (bytesEach + 20));
    session.destroy();
  });

  it("a handler that does not read holds the client back", async () => {
    let written = 0;
    const gate = Promise.withResolvers<void>();
    const collect = async (requests: AsyncIterable<unknown>) => {
      await gate.promise;
      let count = 0;
      for await (const _ of requests) count++;
      return bytes(String(count));
    };
    await using running = await startServer({ routes: [serviceRoute(Echo, { collect })] });
    await using transport = createUnixTransport({ path: running.path });
    const input = async function* () {
      while (written++ < 60) yield { value: new Uint8Array(CHUNK) };
    };
    const answer = createClient(Echo, transport).collect(input());
    await until(() => written > 0);
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(written).toBeLessThan(20);
    gate.resolve();
    expect(textOf(await answer)).toBe("60");
  });
});

describe("cancelled calls", () => {
  it("20,000 of them do not cost the connection", async () => {
    await using running = await startServer({
      routes: [
        serviceRoute(Echo, {
          unary: (request, context) => (textOf(request) === "ok" ? request : waitFor(context.signal)),
        }),
      ],
    });
    const session = connect("http://localhost", { createConnection: () => net.connect(running.path) });
    let goaway = false;
    session.on("goaway", () => (goaway = true));
    const headers = { ":method": "POST", ":path": "/berth.test.Echo/Unary", "content-type": "application/grpc" };
    for (let batch = 0; batch < 200; batch++) {
      await Promise.all(Array.from({ length: 100 }, () => cancelled(session.request(headers))));
    }
    const good = session.request(headers);
    good.end(encodeFrame(new Uint8Array([10, 2, 111, 107])));
    const status = await new Promise((resolve) =>
      good.on("trailers", (trailers) => resolve(trailers["grpc-status"])).resume(),
    );
    expect([status, goaway]).toEqual(["0", false]);
    session.destroy();
  });
});

function cancelled(stream: ClientHttp2Stream): Promise<void> {
  stream.on("error", () => {});
  stream.end(encodeFrame(new Uint8Array(0)));
  return new Promise((resolve) => {
    stream.on("close", resolve);
    setImmediate(() => stream.close(constants.NGHTTP2_CANCEL));
  });
}

function waitFor(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
}

describe("an answer that comes while the client still sends", () => {
  it.each([
    ["an error", "5", Code.NotFound],
    ["an end", "0", undefined],
  ])("%s is told at once, also by a peer that waits for the client's end", async (_, status, code) => {
    const server = createServer();
    server.on("stream", (stream) => {
      stream.on("error", () => {});
      // Read to its end, so that the stream stays open until then.
      stream.resume();
      stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
      stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": status }));
      stream.end(encodeFrame(new Uint8Array(0)));
    });
    await using directory = await temporaryDirectory();
    const path = join(directory.path, "socket");
    await new Promise<void>((resolve) => void server.listen(path, resolve));
    await using transport = createUnixTransport({ path });
    const open = Promise.withResolvers<void>();
    const input = async function* () {
      yield bytes("one");
      await open.promise;
    };
    const answers: unknown[] = [];
    const call = (async () => {
      for await (const answer of createClient(Echo, transport).talk(input())) answers.push(answer);
    })();
    expect(await call.then(() => undefined, codeOf)).toBe(code);
    expect(answers).toHaveLength(1);
    open.resolve();
    server.close();
  });
});
