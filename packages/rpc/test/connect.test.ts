import * as http from "node:http";
import * as http2 from "node:http2";
import * as net from "node:net";

import type { JsonValue } from "@bufbuild/protobuf";
import { create, createRegistry, toBinary } from "@bufbuild/protobuf";
import type { Any } from "@bufbuild/protobuf/wkt";
import { AnySchema, DurationSchema } from "@bufbuild/protobuf/wkt";
import { ContainerSchema, Containers } from "@berth/api/containerd/services/containers/v1/containers";
import { Version } from "@berth/api/containerd/services/version/v1/version";
import { MountSchema } from "@berth/api/containerd/types/mount";
import type { Transport } from "@connectrpc/connect";
import { Code, createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { codeOf, notFound } from "@berth/errors";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { namespaceOf, serviceRoute } from "../src/index.ts";
import type { RunningServer } from "./echo-service.ts";
import { bytes, Echo, startServer, textOf } from "./echo-service.ts";

const SPEC = "types.containerd.io/opencontainers/runtime-spec/1/Spec";
const spec = new TextEncoder().encode('{"ociVersion":"1.0.2"}');
const specBase64 = Buffer.from(spec).toString("base64");
const mount = create(MountSchema, { type: "bind", source: "/s" });
const calls: string[] = [];
let running: RunningServer;
let created: Any | undefined;
let aborted = false;

beforeAll(async () => {
  running = await startServer({
    registry: createRegistry(MountSchema, DurationSchema),
    maxReceiveBytes: 100_000,
    onCall: ({ method, code }) => calls.push(`${method} ${code}`),
    interceptors: [
      (next) => async (request) => {
        const response = await next(request);
        response.header.set("x-seen", request.header.get("x-mark") ?? "none");
        return response;
      },
    ],
    routes: [
      serviceRoute(Version, { version: () => ({ version: "1", revision: "r" }) }),
      serviceRoute(Echo, {
        async unary(request, context) {
          if (textOf(request) === "missing") throw notFound("no such thing");
          if (textOf(request) === "namespace") return bytes(namespaceOf(context));
          if (textOf(request) !== "wait") return request;
          return await new Promise((_resolve, reject) =>
            context.signal.addEventListener("abort", () => {
              aborted = true;
              reject(context.signal.reason);
            }),
          );
        },
        async *repeat(request) {
          yield request;
          if (textOf(request) === "fail") throw Object.assign(new Error("gone"), { code: "ENOENT" });
        },
      }),
      serviceRoute(Containers, {
        create(request) {
          created = request.container?.spec;
          return { container: request.container };
        },
        get: () => ({
          container: create(ContainerSchema, {
            id: "c",
            spec: create(AnySchema, { typeUrl: SPEC, value: spec }),
            extensions: {
              known: create(AnySchema, { typeUrl: "containerd.types.Mount", value: toBinary(MountSchema, mount) }),
              wrong: create(AnySchema, { typeUrl: "containerd.types.Mount", value: new Uint8Array([255]) }),
              ["__proto__"]: create(AnySchema, { typeUrl: "x/Unknown", value: new Uint8Array([1]) }),
            },
          }),
        }),
      }),
    ],
  });
});
afterAll(async () => running[Symbol.asyncDispose]());

interface JsonAnswer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly json: JsonValue;
}

/** What `curl --unix-socket … -H 'content-type: application/json' -d …` does. */
function post(path: string, body: string, headers: Record<string, string> = {}): Promise<JsonAnswer> {
  return new Promise((resolve, reject) => {
    const options = {
      socketPath: running.path,
      path,
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
    };
    const request = http.request(options, async (response) => {
      const text = Buffer.concat(await response.toArray()).toString();
      resolve({
        status: response.statusCode ?? 0,
        headers: response.headers,
        json: text.startsWith("{") ? JSON.parse(text) : text,
      });
    });
    request.on("error", reject);
    request.end(body);
  });
}

const GET = "/containerd.services.containers.v1.Containers/Get";
const CREATE = "/containerd.services.containers.v1.Containers/Create";
const UNARY = "/berth.test.Echo/Unary";
const quoted = (text: string): string => JSON.stringify(Buffer.from(text).toString("base64"));

describe("JSON over HTTP/1.1", () => {
  it("answers a unary call", async () => {
    const answer = await post("/containerd.services.version.v1.Version/Version", "{}", { "x-mark": "m" });
    expect([answer.status, answer.headers["content-type"], answer.headers["x-seen"]]).toEqual([
      200,
      "application/json",
      "m",
    ]);
    expect(answer.json).toEqual({ version: "1", revision: "r" });
  });

  it("writes an Any of a known type as its fields, any other as base64", async () => {
    const { json } = await post(GET, "{}");
    expect(json).toMatchObject({
      container: {
        id: "c",
        spec: { "@type": SPEC, value: specBase64 },
        extensions: {
          known: { "@type": "containerd.types.Mount", type: "bind", source: "/s" },
          wrong: { "@type": "containerd.types.Mount", value: "/w==" },
        },
      },
    });
    const { extensions } = (json as { container: { extensions: object } }).container;
    expect(Object.keys(extensions).toSorted()).toEqual(["__proto__", "known", "wrong"]);
  });

  it.each([
    ["unknown type", { "@type": SPEC, value: specBase64 }, SPEC, spec],
    [
      "known type",
      { "@type": "containerd.types.Mount", type: "bind", source: "/s" },
      "containerd.types.Mount",
      toBinary(MountSchema, mount),
    ],
    [
      "known type with its own JSON form",
      { "@type": "x/google.protobuf.Duration", value: "1s" },
      "x/google.protobuf.Duration",
      new Uint8Array([8, 1]),
    ],
    [
      "bytes that are not of the type",
      { "@type": "containerd.types.Mount", value: "/w==" },
      "containerd.types.Mount",
      new Uint8Array([255]),
    ],
  ])("reads an Any and writes it back: %s", async (_name, any, typeUrl, value) => {
    const answer = await post(CREATE, JSON.stringify({ container: { id: "x", spec: any } }));
    expect([created?.typeUrl, created?.value]).toEqual([typeUrl, new Uint8Array(value)]);
    expect(answer.json).toMatchObject({ container: { id: "x", spec: any } });
  });

  it.each([
    ["not JSON", GET, "{", 400, "invalid_argument"],
    ["invalid UTF-8", GET, Buffer.from([0x22, 0xff, 0x22]).toString("latin1"), 400, "invalid_argument"],
    ["a wrong type", GET, '{"id":5}', 400, "invalid_argument"],
    ["an Any without type", CREATE, '{"container":{"spec":{"value":""}}}', 400, "invalid_argument"],
    ["an Any that is no object", CREATE, '{"container":{"spec":5}}', 400, "invalid_argument"],
    [
      "an unknown Any that is not base64",
      CREATE,
      '{"container":{"spec":{"@type":"a","value":"*"}}}',
      400,
      "invalid_argument",
    ],
    ["an unknown Any with fields", CREATE, '{"container":{"spec":{"@type":"a","x":1}}}', 400, "invalid_argument"],
    ["a handler's error", UNARY, quoted("missing"), 404, "not_found"],
    ["a missing namespace", UNARY, quoted("namespace"), 400, "failed_precondition"],
    ["a body above the limit", UNARY, quoted("x".repeat(200_000)), 429, "resource_exhausted"],
    ["an unimplemented method", "/containerd.services.containers.v1.Containers/Delete", "{}", 501, "unimplemented"],
  ])("refuses %s", async (_name, path, body, status, code) => {
    const answer = await post(path, body);
    expect([answer.status, answer.json]).toEqual([status, expect.objectContaining({ code })]);
  });

  it("ends at the deadline and aborts the handler", async () => {
    aborted = false;
    const answer = await post(UNARY, quoted("wait"), { "connect-timeout-ms": "30" });
    expect([answer.status, aborted]).toEqual([504, true]);
  });

  it("a caller that leaves aborts the handler", async () => {
    aborted = false;
    const socket = net.connect(running.path);
    const body = quoted("wait");
    socket.write(
      `POST ${UNARY} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
    );
    await new Promise((resolve) => setTimeout(resolve, 50));
    socket.destroy();
    await expect.poll(() => aborted).toBe(true);
  });

  it.each([
    ["an unknown path", "/no.such/Method", 404],
    ["a path that is no URL", "//", 404],
  ])("%s is HTTP %i", async (_name, path, status) => expect((await post(path, "{}")).status).toBe(status));

  it("is also answered over HTTP/2", async () => {
    const session = http2.connect("http://x", { createConnection: () => net.connect(running.path) });
    const stream = session.request({
      ":method": "POST",
      ":path": GET,
      "content-type": "application/json; charset=utf-8",
    });
    stream.end("{}");
    const text = Buffer.concat(await stream.toArray()).toString();
    session.destroy();
    expect(JSON.parse(text)).toMatchObject({ container: { spec: { "@type": SPEC, value: specBase64 } } });
  });
});

const createConnection = () => net.connect(running.path);
const h2 = { baseUrl: "http://localhost", httpVersion: "2", nodeOptions: { createConnection } } as const;
const h1 = { baseUrl: "http://localhost", httpVersion: "1.1", nodeOptions: { createConnection } } as const;
const transports: [string, () => Transport][] = [
  ["Connect, binary, HTTP/1.1", () => createConnectTransport({ ...h1, useBinaryFormat: true })],
  ["Connect, binary, HTTP/2", () => createConnectTransport({ ...h2, useBinaryFormat: true })],
  ["Connect, JSON, HTTP/1.1", () => createConnectTransport({ ...h1, useBinaryFormat: false })],
  ["Connect, JSON, HTTP/2", () => createConnectTransport({ ...h2, useBinaryFormat: false })],
  ["gRPC-Web, HTTP/1.1", () => createGrpcWebTransport(h1)],
  ["gRPC-Web, HTTP/2", () => createGrpcWebTransport(h2)],
];

describe.each(transports)("server called by %s", (_name, makeTransport) => {
  it("answers calls, maps errors and reports each call once", async () => {
    const client = createClient(Echo, makeTransport());
    calls.length = 0;
    let seen: string | null = null;
    const options = { headers: { "x-mark": "m" }, onHeader: (headers: Headers) => (seen = headers.get("x-seen")) };
    expect(textOf(await client.unary(bytes("hello"), options))).toBe("hello");
    expect(seen).toBe("m");
    expect(codeOf(await client.unary(bytes("missing")).catch((e: unknown) => e))).toBe(Code.NotFound);
    const got: string[] = [];
    const failed = (async () => {
      for await (const message of client.repeat(bytes("fail"))) got.push(textOf(message));
    })();
    expect(codeOf(await failed.catch((e: unknown) => e))).toBe(Code.NotFound);
    expect(got).toEqual(["fail"]);
    expect(calls).toEqual(["Unary ok", "Unary not_found", "Repeat not_found"]);
  });
});
