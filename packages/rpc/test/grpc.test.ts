import * as net from "node:net";

import type { Transport } from "@connectrpc/connect";
import { Code, ConnectError } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { codeOf, notFound } from "@berth/errors";
import { StringValueSchema } from "@bufbuild/protobuf/wkt";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import type { CallRecord } from "../src/index.ts";
import { leaseOf, namespaceOf, serviceRoute } from "../src/index.ts";
import { createClient, createUnixTransport } from "../src/client/index.ts";
import type { RunningServer } from "./echo-service.ts";
import { bytes, Echo, startServer, textOf } from "./echo-service.ts";

const records: CallRecord[] = [];
const seen = { aborted: 0, returned: 0 };
let running: RunningServer;

const codeOfCall = async (call: Promise<unknown>): Promise<Code> =>
  codeOf(
    await call.then(
      () => undefined,
      (e: unknown) => e,
    ),
  );

function waitForAbort(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) =>
    signal.addEventListener("abort", () => {
      seen.aborted++;
      reject(signal.reason);
    }),
  );
}

const echo = serviceRoute(Echo, {
  async unary(request, context) {
    const text = textOf(request);
    context.responseHeader.set("x-head", "h");
    context.responseTrailer.set("x-trail", "t");
    if (text === "wait") await waitForAbort(context.signal);
    if (text === "missing") {
      throw new ConnectError("größer 100% ", Code.NotFound, { "x-meta": "m" }, [
        { desc: StringValueSchema, value: { value: "detail" } },
      ]);
    }
    if (text.startsWith("long:")) {
      throw new ConnectError(`begin ${text.slice(5).repeat(20_000)} end`, Code.FailedPrecondition, undefined, [
        { desc: StringValueSchema, value: { value: "detail" } },
      ]);
    }
    if (text === "enoent") throw Object.assign(new Error("no"), { code: "ENOENT" });
    if (text === "plain") throw new Error("plain text");
    if (text === "namespace") return bytes(`${namespaceOf(context)}/${leaseOf(context)}`);
    if (text.startsWith("size:")) return { value: new Uint8Array(Number(text.slice(5))) };
    return request;
  },
  async collect(requests) {
    let all = "";
    for await (const request of requests) all += textOf(request);
    return bytes(all);
  },
  async *repeat(request, context) {
    const text = textOf(request);
    try {
      if (text === "none") return;
      for (let i = 0; i < 3; i++) yield bytes(`${text}${i}`);
      if (text === "fail") throw notFound("after three");
      if (text === "wait") await waitForAbort(context.signal);
    } finally {
      seen.returned++;
    }
  },
  async *talk(requests) {
    for await (const request of requests) yield bytes(`<${textOf(request)}>`);
  },
});

beforeAll(async () => {
  running = await startServer({ routes: [echo], onCall: (record) => records.push(record) });
});
afterAll(async () => running[Symbol.asyncDispose]());

const transports: [string, () => Transport][] = [
  ["our transport", () => createUnixTransport({ path: running.path })],
  [
    "connect-node",
    () =>
      createGrpcTransport({
        baseUrl: "http://localhost",
        nodeOptions: { createConnection: () => net.connect(running.path) },
      }),
  ],
];

async function* letters(...all: string[]) {
  for (const one of all) yield bytes(one);
}

async function collectAll(messages: AsyncIterable<Parameters<typeof textOf>[0]>): Promise<string[]> {
  const all: string[] = [];
  for await (const message of messages) all.push(textOf(message));
  return all;
}

describe.each(transports)("gRPC server called by %s", (_name, makeTransport) => {
  const client = () => createClient(Echo, makeTransport());

  it("answers a unary call with headers and trailers", async () => {
    const got: Record<string, string | null> = {};
    const answer = await client().unary(bytes("hello"), {
      onHeader: (headers) => (got["head"] = headers.get("x-head")),
      onTrailer: (headers) => (got["trail"] = headers.get("x-trail")),
    });
    expect(textOf(answer)).toBe("hello");
    expect(got).toEqual({ head: "h", trail: "t" });
  });

  it("answers an empty message", async () => expect(textOf(await client().unary({}))).toBe(""));

  it("passes code, message, metadata and details of an error", async () => {
    const error = ConnectError.from(
      await client()
        .unary(bytes("missing"))
        .catch((e: unknown) => e),
    );
    expect([error.code, error.rawMessage, error.metadata.get("x-meta")]).toEqual([
      Code.NotFound,
      "größer 100% : not found",
      "m",
    ]);
    expect(error.findDetails(StringValueSchema).map(({ value }) => value)).toEqual(["detail"]);
  });

  it.each(["plain text", "ä\n", "😀", "%"])(
    "an error keeps its class however long its text is, made of %j",
    async (part) => {
      const error = ConnectError.from(
        await client()
          .unary(bytes(`long:${part}`))
          .catch((e: unknown) => e),
      );
      expect([error.code, error.rawMessage.slice(0, 6), error.rawMessage.slice(-25)]).toEqual([
        Code.FailedPrecondition,
        "begin ",
        " end: failed precondition",
      ]);
      expect(error.rawMessage).not.toContain("\ufffd");
      expect(error.findDetails(StringValueSchema).map(({ value }) => value)).toEqual(["detail"]);
    },
  );

  it.each([
    ["enoent", Code.NotFound],
    ["plain", Code.Unknown],
    ["namespace", Code.FailedPrecondition],
  ])("maps what a handler throws: %s", async (text, code) => {
    expect(await codeOfCall(client().unary(bytes(text)))).toBe(code);
  });

  it.each([
    ["", Code.FailedPrecondition],
    ["a..b", Code.InvalidArgument],
    ["x".repeat(77), Code.InvalidArgument],
  ])("refuses namespace %j", async (namespace, code) => {
    const headers = { "containerd-namespace": namespace };
    expect(await codeOfCall(client().unary(bytes("namespace"), { headers }))).toBe(code);
  });

  it("hands namespace and lease to the handler", async () => {
    const headers = { "containerd-namespace": "k8s.io", "containerd-lease": "l1" };
    expect(textOf(await client().unary(bytes("namespace"), { headers }))).toBe("k8s.io/l1");
  });

  it("of several namespaces and leases the first counts", async () => {
    const headers = new Headers({ "containerd-namespace": "new", "containerd-lease": "l2" });
    headers.append("containerd-namespace", "old");
    headers.append("containerd-lease", "l1");
    expect(textOf(await client().unary(bytes("namespace"), { headers }))).toBe("new/l2");
  });

  it("hands over the id of a lease with a comma as it is", async () => {
    const headers = { "containerd-namespace": "k8s.io", "containerd-lease": "l,1" };
    expect(textOf(await client().unary(bytes("namespace"), { headers }))).toBe("k8s.io/l,1");
  });

  it("streams from the client", async () => {
    expect(textOf(await client().collect(letters("a", "b", "c")))).toBe("abc");
    expect(textOf(await client().collect(letters()))).toBe("");
  });

  it("streams from the server, also nothing", async () => {
    expect(await collectAll(client().repeat(bytes("x")))).toEqual(["x0", "x1", "x2"]);
    expect(await collectAll(client().repeat(bytes("none")))).toEqual([]);
  });

  it("ends a stream with an error after its messages", async () => {
    const got: string[] = [];
    const call = (async () => {
      for await (const message of client().repeat(bytes("fail"))) got.push(textOf(message));
    })();
    expect(await codeOfCall(call)).toBe(Code.NotFound);
    expect(got).toEqual(["fail0", "fail1", "fail2"]);
  });

  it("streams both ways, big messages too", async () => {
    expect(await collectAll(client().talk(letters("a", "b")))).toEqual(["<a>", "<b>"]);
    const big = "z".repeat(5_000_000);
    expect(await collectAll(client().talk(letters(big)))).toEqual([`<${big}>`]);
  });

  it("ends at the deadline and aborts the handler", async () => {
    const before = seen.aborted;
    expect(await codeOfCall(client().unary(bytes("wait"), { timeoutMs: 50 }))).toBe(Code.DeadlineExceeded);
    await expect.poll(() => seen.aborted).toBe(before + 1);
  });

  it("a cancelled call aborts the handler", async () => {
    const before = seen.aborted;
    const controller = new AbortController();
    const call = codeOfCall(client().unary(bytes("wait"), { signal: controller.signal }));
    setTimeout(() => controller.abort(), 30);
    expect(await call).toBe(Code.Canceled);
    await expect.poll(() => seen.aborted).toBe(before + 1);
  });

  it("a cancelled stream closes the handler's iterable", async () => {
    const before = { ...seen };
    const controller = new AbortController();
    const call = (async () => {
      for await (const message of client().repeat(bytes("wait"), { signal: controller.signal })) {
        if (textOf(message) === "wait2") controller.abort();
      }
    })();
    expect(await codeOfCall(call)).toBe(Code.Canceled);
    await expect.poll(() => ({ ...seen })).toEqual({ aborted: before.aborted + 1, returned: before.returned + 1 });
  });

  it("an unknown method is unimplemented", async () => {
    const transport = makeTransport();
    const unknown = { ...Echo.method.unary, name: "Nope" } as typeof Echo.method.unary;
    expect(await codeOfCall(transport.unary(unknown, undefined, undefined, undefined, {}))).toBe(Code.Unimplemented);
  });

  it("refuses to send an answer above the limit", async () => {
    expect(await codeOfCall(client().unary(bytes(`size:${16 * 1024 * 1024}`)))).toBe(Code.ResourceExhausted);
    expect((await client().unary(bytes(`size:${16 * 1024 * 1024 - 5}`))).value.length).toBe(16 * 1024 * 1024 - 5);
  });
});

describe("request above the limit", () => {
  it.each([2000, 100_000, 8_000_000])("of %i bytes is refused, and the connection goes on", async (size) => {
    await using small = await startServer({ routes: [echo], maxReceiveBytes: 1000 });
    await using ours = createUnixTransport({ path: small.path });
    const createConnection = () => net.connect(small.path);
    const theirs = createGrpcTransport({ baseUrl: "http://localhost", nodeOptions: { createConnection } });
    for (const transport of [ours, theirs]) {
      const client = createClient(Echo, transport);
      expect(await codeOfCall(client.unary({ value: new Uint8Array(size) }))).toBe(Code.ResourceExhausted);
      expect(textOf(await client.unary(bytes("still there")))).toBe("still there");
    }
  });
});

describe("createClient", () => {
  it("leaving a server stream early cancels the call", async () => {
    const before = { ...seen };
    await using transport = createUnixTransport({ path: running.path });
    for await (const message of createClient(Echo, transport).repeat(bytes("wait")))
      if (textOf(message) === "wait2") break;
    await expect.poll(() => ({ ...seen })).toEqual({ aborted: before.aborted + 1, returned: before.returned + 1 });
  });
});

describe("onCall", () => {
  it("hears of each call once, with its code", async () => {
    await using transport = createUnixTransport({ path: running.path });
    const client = createClient(Echo, transport);
    records.length = 0;
    await client.unary(bytes("x"));
    await codeOfCall(client.unary(bytes("missing")));
    await collectAll(client.talk(letters("a")));
    expect(records.map(({ service, method, code }) => [service, method, code])).toEqual([
      ["berth.test.Echo", "Unary", "ok"],
      ["berth.test.Echo", "Unary", "not_found"],
      ["berth.test.Echo", "Talk", "ok"],
    ]);
  });
});
