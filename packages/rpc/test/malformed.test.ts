import type { ClientHttp2Session, IncomingHttpHeaders } from "node:http2";
import { connect } from "node:http2";
import * as net from "node:net";
import { gzipSync } from "node:zlib";

import { toBinary } from "@bufbuild/protobuf";
import { BytesValueSchema } from "@bufbuild/protobuf/wkt";
import { Code } from "@connectrpc/connect";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { serviceRoute } from "../src/index.ts";
import type { RunningServer } from "./echo-service.ts";
import { bytes, Echo, startServer } from "./echo-service.ts";

let running: RunningServer;
let session: ClientHttp2Session;

beforeAll(async () => {
  running = await startServer({
    maxReceiveBytes: 100_000,
    routes: [
      serviceRoute(Echo, {
        unary: (request) => request,
        async *repeat(request) {
          yield request;
        },
        async collect(requests) {
          for await (const _ of requests);
          return bytes("collected");
        },
      }),
    ],
  });
  session = connect("http://localhost", { createConnection: () => net.connect(running.path) });
});
afterAll(async () => {
  session.destroy();
  await running[Symbol.asyncDispose]();
});

interface Answer {
  readonly httpStatus: number;
  readonly grpcStatus: number | undefined;
  readonly body: Uint8Array;
}

function call(path: string, body: Uint8Array, headers: Record<string, string> = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const stream = session.request({
      ":method": "POST",
      ":path": path,
      "content-type": "application/grpc",
      te: "trailers",
      ...headers,
    });
    const chunks: Uint8Array[] = [];
    let received: IncomingHttpHeaders = {};
    stream.on("response", (head) => (received = { ...received, ...head }));
    stream.on("trailers", (trailers) => (received = { ...received, ...trailers }));
    stream.on("data", (chunk: Uint8Array) => chunks.push(chunk));
    stream.on("error", reject);
    stream.on("close", () => {
      const status = received["grpc-status"];
      const grpcStatus = typeof status === "string" ? Number(status) : undefined;
      resolve({ httpStatus: Number(received[":status"]), grpcStatus, body: Buffer.concat(chunks) });
    });
    stream.end(body);
  });
}

function frame(data: Uint8Array, flag = 0, length = data.length): Uint8Array {
  const prefix = Buffer.alloc(5);
  prefix[0] = flag;
  prefix.writeUInt32BE(length, 1);
  return Buffer.concat([prefix, data]);
}

const message = toBinary(BytesValueSchema, bytes("hello"));
const bomb = gzipSync(
  toBinary(BytesValueSchema, { $typeName: "google.protobuf.BytesValue", value: new Uint8Array(200_000) }),
);
const none = new Uint8Array(0);
const gzip = { "grpc-encoding": "gzip" };

describe.each(["Unary", "Repeat", "Collect"])("malformed request of %s", (method) => {
  const path = `/berth.test.Echo/${method}`;

  it.each<[string, Uint8Array, Record<string, string>, Code]>([
    ["truncated prefix", frame(message).subarray(0, 3), {}, Code.Internal],
    ["truncated message", frame(message).subarray(0, 8), {}, Code.Internal],
    ["length of 4 GiB", frame(message, 0, 0xffffffff), {}, Code.ResourceExhausted],
    ["length just above the limit", frame(new Uint8Array(100_001)), {}, Code.ResourceExhausted],
    ["compressed, no encoding announced", frame(gzipSync(message), 1), {}, Code.Internal],
    ["compressed, unknown encoding", frame(message, 1), { "grpc-encoding": "snappy" }, Code.Unimplemented],
    ["compressed, not gzip", frame(message, 1), gzip, Code.Internal],
    ["gzip bomb", frame(bomb, 1), gzip, Code.ResourceExhausted],
    ["flag 2", frame(message, 2), {}, Code.Internal],
    ["garbage message", frame(Buffer.from([0xff, 0xff, 0xff])), {}, Code.Internal],
    ["malformed timeout", frame(message), { "grpc-timeout": "soon" }, Code.InvalidArgument],
    ["timeout of nine digits", frame(message), { "grpc-timeout": "123456789S" }, Code.InvalidArgument],
  ])("%s", async (_name, body, headers, code) => {
    expect((await call(path, body, headers)).grpcStatus).toBe(code);
    expect((await call(path, frame(message))).grpcStatus).toBe(0);
  });
});

describe.each(["Unary", "Repeat"])("message count of %s", (method) => {
  it.each([
    ["none", none],
    ["two", Buffer.concat([frame(message), frame(message)])],
  ])("%s is unimplemented", async (_name, body) => {
    expect((await call(`/berth.test.Echo/${method}`, body)).grpcStatus).toBe(Code.Unimplemented);
  });
});

it("a unary request that goes on after its message is refused before its end", async () => {
  const stream = session.request({
    ":method": "POST",
    ":path": "/berth.test.Echo/Unary",
    "content-type": "application/grpc",
    te: "trailers",
  });
  const status = new Promise((resolve, reject) => {
    stream.on("response", (head) => resolve(Number(head["grpc-status"])));
    stream.on("error", reject);
  });
  stream.write(Buffer.concat([frame(message), new Uint8Array(1024 ** 2)]));
  expect(await status).toBe(Code.Unimplemented);
  stream.destroy();
});

describe("gRPC request", () => {
  it("takes gzip and identity", async () => {
    expect((await call("/berth.test.Echo/Unary", frame(gzipSync(message), 1), gzip)).body).toEqual(
      Buffer.from(frame(message)),
    );
    expect((await call("/berth.test.Echo/Unary", frame(message), gzip)).body).toEqual(Buffer.from(frame(message)));
  });

  it.each([
    ["/berth.test.Echo/Nope", {}],
    ["/no.such.Service/Method", {}],
    ["/", {}],
    ["/no.such.Service/Method", { "content-type": "application/grpc+json" }],
  ])("of unknown path %s is unimplemented", async (path, headers) => {
    const answer = await call(path, frame(message), headers);
    expect([answer.httpStatus, answer.grpcStatus]).toEqual([200, Code.Unimplemented]);
  });

  it("that is not gRPC is no gRPC answer", async () => {
    const answer = await call("/nothing", none, { "content-type": "text/plain" });
    expect([answer.httpStatus, answer.grpcStatus]).toEqual([404, undefined]);
  });
});

describe("connection", () => {
  it.each([
    ["garbage", "\x00\x01\x02garbage\r\n\r\n"],
    ["half a preface", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"],
    ["preface, then garbage", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"],
  ])("of %s is closed and harms nobody", async (_name, text) => {
    const socket = net.connect(running.path);
    socket.on("error", () => {});
    const closed = new Promise((resolve) => socket.on("close", resolve));
    socket.end(Buffer.from(text, "latin1"));
    socket.resume();
    await closed;
    expect((await call("/berth.test.Echo/Unary", frame(message))).grpcStatus).toBe(0);
  });
});
