import { once } from "node:events";
import { randomUUID } from "node:crypto";
import * as net from "node:net";

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { BytesValueSchema } from "@bufbuild/protobuf/wkt";
import { RequestSchema, ResponseSchema } from "@berth/api/ttrpc/ttrpc";
import { Code, createClient } from "@connectrpc/connect";
import { codeOf } from "@berth/errors";
import * as fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

import type { TtrpcServer } from "../src/index.ts";
import { createTtrpcServer, createTtrpcTransport, ttrpcService } from "../src/index.ts";
import type { Frame } from "../src/wire/frame.ts";
import { encodeFrame, Flag, FrameParser, MessageType } from "../src/wire/frame.ts";
import { bytes, Echo, textOf } from "./echo-service.ts";

const { request: REQUEST, response: RESPONSE, data: DATA } = MessageType;
const { remoteClosed: CLOSED, remoteOpen: OPEN } = Flag;
const END = Flag.remoteClosed | Flag.noData;
const none = new Uint8Array(0);
let server: TtrpcServer;
let socket: net.Socket;
let path: string;
let frames: Frame[];

beforeEach(async () => {
  frames = [];
  server = createTtrpcServer({
    services: [
      ttrpcService(Echo, {
        unary: (request) => request,
        async collect(requests) {
          let all = "";
          for await (const request of requests) all += textOf(request);
          return bytes(all);
        },
        async *repeat(request) {
          yield request;
          yield {};
        },
        async *talk(requests) {
          yield* requests;
        },
      }),
    ],
  });
  path = `\0berth-ttrpc-${randomUUID()}`;
  await server.listen(path);
  socket = net.connect({ path });
  const parser = new FrameParser((frame) => frames.push(frame));
  socket.on("data", (chunk) => parser.push(chunk));
  socket.on("error", () => {});
  await once(socket, "connect");
});
afterEach(async () => {
  socket.destroy();
  await server.close({ graceMs: 0 });
});

function request(method: string, text = "", service = "berth.test.Echo", timeoutNano = 0n): Uint8Array {
  const payload = text === "" ? none : toBinary(BytesValueSchema, bytes(text));
  return toBinary(RequestSchema, create(RequestSchema, { service, method, payload, timeoutNano }));
}

const data = (text: string): Uint8Array => toBinary(BytesValueSchema, bytes(text));
const send = (id: number, type: number, flags: number, payload: Uint8Array): void =>
  void socket.write(encodeFrame(id, type, flags, payload));

/** The frames received once `count` have come, as `[stream, type, flags, code or text]`. */
async function received(count: number): Promise<unknown[]> {
  await expect.poll(() => frames.length).toBe(count);
  return frames.map(({ streamId, type, flags, payload = none }) => {
    if (type === DATA) return [streamId, type, flags, textOf(fromBinary(BytesValueSchema, payload))];
    const response = fromBinary(ResponseSchema, payload);
    const code = response.status?.code;
    return [streamId, type, flags, code ?? textOf(fromBinary(BytesValueSchema, response.payload))];
  });
}

const refusal = (id: number, code: Code) => [id, RESPONSE, 0, code];

describe("request", () => {
  it("of a unary method is answered with one response frame", async () => {
    send(1, REQUEST, 0, request("Unary", "a"));
    expect(await received(1)).toEqual([[1, RESPONSE, 0, "a"]]);
  });

  it.each([
    ["even id", 2, request("Unary"), Code.InvalidArgument],
    ["id zero", 0, request("Unary"), Code.InvalidArgument],
    ["undecodable envelope", 1, new Uint8Array([255]), Code.InvalidArgument],
    ["unknown service", 1, request("Unary", "", "no.Service"), Code.Unimplemented],
    ["unknown method", 1, request("Nope"), Code.Unimplemented],
    [
      "undecodable message",
      1,
      toBinary(
        RequestSchema,
        create(RequestSchema, { service: "berth.test.Echo", method: "Unary", payload: new Uint8Array([255]) }),
      ),
      Code.Internal,
    ],
  ])("with %s is refused", async (_name, id, payload, code) => {
    send(id, REQUEST, 0, payload);
    expect(await received(1)).toEqual([refusal(id, code)]);
    send(3, REQUEST, 0, request("Unary", "next"));
    expect((await received(2))[1]).toEqual([3, RESPONSE, 0, "next"]);
  });

  it.each([5, 3, 1])("with id %i after 5 is refused", async (id) => {
    send(5, REQUEST, 0, request("Unary", "a"));
    await received(1);
    send(id, REQUEST, 0, request("Unary", "b"));
    expect((await received(2))[1]).toEqual(refusal(id, Code.InvalidArgument));
  });

  it("above 4 MiB is discarded and refused", async () => {
    const header = Buffer.alloc(10);
    header.writeUInt32BE(4 * 1024 * 1024 + 1, 0);
    header.writeUInt32BE(1, 4);
    header[8] = REQUEST;
    socket.write(Buffer.concat([header, new Uint8Array(4 * 1024 * 1024 + 1)]));
    send(3, REQUEST, 0, request("Unary", "next"));
    expect(await received(2)).toEqual([refusal(1, Code.ResourceExhausted), [3, RESPONSE, 0, "next"]]);
  });

  it("whose time is over is ended", async () => {
    send(1, REQUEST, OPEN, request("Collect", "", "berth.test.Echo", 20_000_000n));
    expect(await received(1)).toEqual([refusal(1, Code.DeadlineExceeded)]);
  });

  it("of unknown type is ignored", async () => {
    send(1, 9, 0, none);
    send(1, RESPONSE, 0, none);
    send(1, REQUEST, 0, request("Unary", "a"));
    expect(await received(1)).toEqual([[1, RESPONSE, 0, "a"]]);
  });
});

describe("stream", () => {
  it("of a server ends with an empty data frame; an empty message is a data frame without flags", async () => {
    send(1, REQUEST, CLOSED, request("Repeat", "a"));
    expect(await received(3)).toEqual([
      [1, DATA, 0, "a"],
      [1, DATA, 0, ""],
      [1, DATA, END, ""],
    ]);
  });

  it("of a client is answered with a response frame after its half close", async () => {
    send(1, REQUEST, OPEN, request("Collect"));
    send(1, DATA, 0, data("a"));
    send(1, DATA, 0, data("b"));
    send(1, DATA, END, none);
    expect(await received(1)).toEqual([[1, RESPONSE, 0, "ab"]]);
  });

  it("may bring its first message along with the request", async () => {
    send(1, REQUEST, OPEN, request("Collect", "first"));
    send(1, DATA, END, none);
    expect(await received(1)).toEqual([[1, RESPONSE, 0, "first"]]);
  });

  it("goes both ways", async () => {
    send(1, REQUEST, OPEN, request("Talk"));
    send(1, DATA, 0, data("a"));
    expect(await received(1)).toEqual([[1, DATA, 0, "a"]]);
    send(1, DATA, END, none);
    expect((await received(2))[1]).toEqual([1, DATA, END, ""]);
  });

  it("is dead after its end", async () => {
    send(1, REQUEST, 0, request("Unary", "a"));
    await received(1);
    send(1, DATA, 0, data("late"));
    expect((await received(2))[1]).toEqual(refusal(1, Code.InvalidArgument));
  });

  it.each([
    ["data in its close", CLOSED, data("x")],
    ["data that is no message", 0, new Uint8Array([255])],
  ])("is refused for %s", async (_name, flags, payload) => {
    send(1, REQUEST, OPEN, request("Talk"));
    send(1, DATA, flags, payload);
    expect(await received(1)).toEqual([refusal(1, Code.InvalidArgument)]);
  });
});

describe("connection", () => {
  it("survives or closes on garbage, and harms nobody else", async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (garbage) => {
        const other = net.connect({ path });
        other.on("error", () => {});
        await once(other, "connect");
        other.end(garbage);
        other.resume();
        await once(other, "close");
        await using transport = createTtrpcTransport({ path });
        expect(textOf(await createClient(Echo, transport).unary(bytes("ok")))).toBe("ok");
      }),
      { numRuns: 50 },
    );
  });
});

describe("client", () => {
  it.each([
    ["data instead of a response", (id: number) => encodeFrame(id, 3, 0, none), Code.Internal],
    ["an undecodable response", (id: number) => encodeFrame(id, 2, 0, new Uint8Array([255])), Code.Internal],
    ["an unknown type", (id: number) => encodeFrame(id, 9, 0, none), Code.Internal],
  ])("reports %s as an error of the call", async (_name, answer, code) => {
    const name = `\0berth-ttrpc-${randomUUID()}`;
    const fake = net.createServer((peer) => {
      peer.on("error", () => {});
      const parser = new FrameParser((frame) => {
        peer.write(encodeFrame(99, 2, 0, none));
        peer.write(answer(frame.streamId));
      });
      peer.on("data", (chunk) => parser.push(chunk));
    });
    fake.listen({ path: name });
    await using transport = createTtrpcTransport({ path: name });
    const error = await createClient(Echo, transport)
      .unary(bytes("a"))
      .catch((e: unknown) => e);
    expect(codeOf(error)).toBe(code);
    fake.close();
  });
});
