import { once } from "node:events";
import { readFile } from "node:fs/promises";
import type { Http2ServerRequest, Http2ServerResponse } from "node:http2";
import { createSecureServer } from "node:http2";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";

import { makeCertificate, temporaryDirectory } from "@berth/testing";
import { Agent } from "undici";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { exchange } from "../src/http/exchange.ts";

const CHUNK = new Uint8Array(1 << 20);
const CHUNKS = 64;

type Handler = (request: Http2ServerRequest, response: Http2ServerResponse) => void;

/** A body of which is known how many read it now. */
function countedBody() {
  const state = { opened: 0, open: 0, sent: 0 };
  return {
    state,
    length: CHUNK.length * CHUNKS,
    async *open() {
      state.opened += 1;
      state.open += 1;
      try {
        for (; state.sent < CHUNKS; state.sent += 1) yield CHUNK;
      } finally {
        state.open -= 1;
      }
    },
  };
}

describe("exchange closes what reads its body", () => {
  let stack: AsyncDisposableStack;
  let directory: string;

  beforeEach(async () => {
    stack = new AsyncDisposableStack();
    directory = stack.use(await temporaryDirectory("bodies")).path;
    await makeCertificate(directory);
  });

  afterEach(() => stack.disposeAsync());

  const listen = async (handler: Handler): Promise<{ readonly url: URL; readonly pool: Agent }> => {
    const [cert = "", key = ""] = await Promise.all(
      ["cert.pem", "key.pem"].map((name) => readFile(join(directory, name))),
    );
    const server = createSecureServer({ cert, key, allowHTTP1: true }, handler);
    const sockets = new Set<TLSSocket>();
    server.on("secureConnection", (socket) => sockets.add(socket));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    stack.defer(() => {
      for (const socket of sockets) socket.destroy();
      server.close();
    });
    const pool = stack.adopt(new Agent({ allowH2: true, connect: { rejectUnauthorized: false } }), (agent) =>
      agent.destroy(),
    );
    // A server that listens on a port has such an address.
    return { url: new URL(`https://127.0.0.1:${(server.address() as AddressInfo).port}/`), pool };
  };
  const closed = async ({ state }: ReturnType<typeof countedBody>): Promise<void> => {
    await vi.waitFor(() => expect(state.open).toBe(0), { timeout: 5000 });
    expect(state.opened).toBe(1);
  };

  it("when the other side resets the stream", async () => {
    const { url, pool } = await listen(({ stream }) => void setTimeout(() => stream.close(2), 50));
    const body = countedBody();
    await expect(exchange(() => ({ dispatcher: pool }), { method: "PUT", url, headers: {}, body })).rejects.toThrow();
    await closed(body);
    expect(body.state.sent).toBeLessThan(CHUNKS);
  });

  it("when the answer comes early, once it is read", async () => {
    const { url, pool } = await listen((_request, response) => void response.writeHead(413).end("too large"));
    const body = countedBody();
    const response = await exchange(() => ({ dispatcher: pool }), { method: "PUT", url, headers: {}, body });
    expect(response.status).toBe(413);
    expect(Buffer.concat(await Array.fromAsync(response.body)).toString()).toBe("too large");
    await closed(body);
  });

  it("when the answer comes early, once it is discarded", async () => {
    const { url, pool } = await listen((_request, response) => void response.writeHead(413).end("too large"));
    const body = countedBody();
    const response = await exchange(() => ({ dispatcher: pool }), { method: "PUT", url, headers: {}, body });
    await response.discard();
    await closed(body);
  });

  it("when it is cancelled", async () => {
    const { url, pool } = await listen(() => {});
    const body = countedBody();
    const controller = new AbortController();
    const failed = exchange(() => ({ dispatcher: pool }), {
      method: "PUT",
      url,
      headers: {},
      body,
      signal: controller.signal,
    });
    await vi.waitFor(() => expect(body.state.opened).toBe(1));
    controller.abort(new Error("enough"));
    await expect(failed).rejects.toThrow("enough");
    await closed(body);
  });

  it("when all is sent", async () => {
    const { url, pool } = await listen((request, response) => void request.on("end", () => response.end()).resume());
    const body = countedBody();
    const response = await exchange(() => ({ dispatcher: pool }), { method: "PUT", url, headers: {}, body });
    await response.discard();
    expect([response.status, body.state.sent]).toEqual([200, CHUNKS]);
    await closed(body);
  });
});
