import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { existsSync, statSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import * as net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { StringValueSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { codeOf, notFound, permissionDenied } from "@berth/errors";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import type { TtrpcServer, TtrpcTransport } from "../src/index.ts";
import { createTtrpcServer, createTtrpcTransport, ttrpcNamespaceOf, ttrpcService } from "../src/index.ts";
import { bytes, Echo, textOf } from "./echo-service.ts";

const seen = { aborted: 0, returned: 0, started: 0 };
let server: TtrpcServer;
let transport: TtrpcTransport;
let address: string;

const codeOfCall = async (call: Promise<unknown>) =>
  codeOf(
    await call.then(
      () => undefined,
      (e: unknown) => e,
    ),
  );
const client = () => createClient(Echo, transport);
const abstract = () => `\0berth-ttrpc-${randomUUID()}`;

function waitForAbort(signal: AbortSignal): Promise<never> {
  seen.started++;
  return new Promise((_resolve, reject) =>
    signal.addEventListener("abort", () => {
      seen.aborted++;
      reject(signal.reason);
    }),
  );
}

const echo = ttrpcService(Echo, {
  async unary(request, context) {
    const text = textOf(request);
    if (text === "wait") await waitForAbort(context.signal);
    if (text === "sleep") await new Promise((resolve) => setTimeout(resolve, 100));
    if (text === "namespace") return bytes(`${ttrpcNamespaceOf(context)} ${context.requestHeader.get("x")}`);
    if (text === "detail") {
      throw new ConnectError("text", Code.AlreadyExists, undefined, [
        { desc: StringValueSchema, value: { value: "d" } },
      ]);
    }
    if (text === "enoent") throw Object.assign(new Error("no"), { code: "ENOENT" });
    if (text === "plain") throw new Error("plain");
    if (text.startsWith("size:")) return { value: new Uint8Array(Number(text.slice(5))) };
    return request;
  },
  async collect(requests) {
    let all = "";
    for await (const request of requests) all += textOf(request);
    if (all === "fail") throw notFound("that");
    return bytes(all);
  },
  async *repeat(request, context) {
    try {
      for (let i = 0; i < 3; i++) yield bytes(i === 1 ? "" : `${textOf(request)}${i}`);
      if (textOf(request) === "fail") throw notFound("after three");
      if (textOf(request) === "wait") await waitForAbort(context.signal);
    } finally {
      seen.returned++;
    }
  },
  async *talk(requests) {
    for await (const request of requests) yield bytes(`<${textOf(request)}>`);
  },
});

beforeAll(async () => {
  server = createTtrpcServer({ services: [echo] });
  address = abstract();
  await server.listen(address);
  transport = createTtrpcTransport({ path: address, metadata: { "containerd-namespace-ttrpc": "default", X: "1" } });
});
afterAll(async () => {
  transport.close();
  await server.close({ graceMs: 0 });
});

async function* letters(...all: string[]) {
  for (const one of all) yield bytes(one);
}

async function collectAll(messages: AsyncIterable<Parameters<typeof textOf>[0]>): Promise<string[]> {
  const all: string[] = [];
  for await (const message of messages) all.push(textOf(message));
  return all;
}

describe("ttrpc call", () => {
  it("answers, also in parallel and out of order, also with nothing", async () => {
    const answers = await Promise.all(["sleep", "b", "", "c"].map((text) => client().unary(bytes(text))));
    expect(answers.map(textOf)).toEqual(["sleep", "b", "", "c"]);
  });

  it("carries metadata; that of the call comes before that of the transport", async () => {
    expect(textOf(await client().unary(bytes("namespace")))).toBe("default 1");
    const headers = { "containerd-namespace-ttrpc": "k8s.io" };
    expect(textOf(await client().unary(bytes("namespace"), { headers }))).toBe("k8s.io 1");
  });

  it("carries code, message and details of an error", async () => {
    const error = ConnectError.from(
      await client()
        .unary(bytes("detail"))
        .catch((e: unknown) => e),
    );
    expect([error.code, error.rawMessage]).toEqual([Code.AlreadyExists, "text: already exists"]);
    expect(error.findDetails(StringValueSchema).map(({ value }) => value)).toEqual(["d"]);
  });

  it.each([
    ["enoent", {}, Code.NotFound],
    ["plain", {}, Code.Unknown],
    ["namespace", { headers: { "containerd-namespace-ttrpc": "" } }, Code.FailedPrecondition],
    ["namespace", { headers: { "containerd-namespace-ttrpc": "a/b" } }, Code.InvalidArgument],
    ["a", { signal: AbortSignal.abort() }, Code.Canceled],
    ["a", { timeoutMs: 0 }, Code.DeadlineExceeded],
    [`size:${4 * 1024 * 1024}`, {}, Code.ResourceExhausted],
  ])("maps errors: %s %j", async (text, options, code) => {
    expect(await codeOfCall(client().unary(bytes(text), options))).toBe(code);
  });

  it("refuses to send more than 4 MiB, and goes on", async () => {
    expect(await codeOfCall(client().unary({ value: new Uint8Array(4 * 1024 * 1024) }))).toBe(Code.ResourceExhausted);
    expect((await client().unary({ value: new Uint8Array(4_000_000) })).value.length).toBe(4_000_000);
  });

  it.each([
    ["service", { ...Echo.method.unary, parent: { ...Echo, typeName: "no.Service" } }],
    ["method", { ...Echo.method.unary, name: "Nope" }],
  ])("of an unknown %s is unimplemented", async (_name, method) => {
    const call = transport.unary(method as typeof Echo.method.unary, undefined, undefined, undefined, {});
    expect(await codeOfCall(call)).toBe(Code.Unimplemented);
  });

  it("ends at the deadline on both sides", async () => {
    const { aborted } = seen;
    expect(await codeOfCall(client().unary(bytes("wait"), { timeoutMs: 50 }))).toBe(Code.DeadlineExceeded);
    await expect.poll(() => seen.aborted).toBe(aborted + 1);
  });

  it("cancelled by the client goes on at the server until the connection is closed", async () => {
    const { aborted, started } = seen;
    const own = createTtrpcTransport({ path: address });
    const controller = new AbortController();
    const call = codeOfCall(createClient(Echo, own).unary(bytes("wait"), { signal: controller.signal }));
    await expect.poll(() => seen.started).toBe(started + 1);
    controller.abort();
    expect(await call).toBe(Code.Canceled);
    expect(textOf(await createClient(Echo, own).unary(bytes("next")))).toBe("next");
    expect(seen.aborted).toBe(aborted);
    own.close();
    await expect.poll(() => seen.aborted).toBe(aborted + 1);
  });
});

describe("ttrpc stream", () => {
  it("from the client", async () => {
    expect(textOf(await client().collect(letters("a", "", "b")))).toBe("ab");
    expect(textOf(await client().collect(letters()))).toBe("");
    expect(await codeOfCall(client().collect(letters("fa", "il")))).toBe(Code.NotFound);
  });

  it("from the server, empty messages included", async () => {
    expect(await collectAll(client().repeat(bytes("x")))).toEqual(["x0", "", "x2"]);
  });

  it("ends with the error of its handler after its messages", async () => {
    const got: string[] = [];
    const call = (async () => {
      for await (const message of client().repeat(bytes("fail"))) got.push(textOf(message));
    })();
    expect(await codeOfCall(call)).toBe(Code.NotFound);
    expect(got).toEqual(["fail0", "", "fail2"]);
  });

  it("both ways, thousands of messages", async () => {
    const many = Array.from({ length: 3000 }, (_, i) => String(i));
    expect(await collectAll(client().talk(letters(...many)))).toEqual(many.map((text) => `<${text}>`));
  });

  it("ends with the error that its own input throws", async () => {
    const input = async function* () {
      yield bytes("a");
      throw permissionDenied("input");
    };
    expect(await codeOfCall(client().collect(input()))).toBe(Code.PermissionDenied);
  });

  it("ends the handler when the connection is closed", async () => {
    const before = { ...seen };
    const own = createTtrpcTransport({ path: address });
    const call = codeOfCall(collectAll(createClient(Echo, own).repeat(bytes("wait"))));
    await expect.poll(() => seen.started).toBe(before.started + 1);
    own.close();
    expect(await call).toBe(Code.Unavailable);
    await expect.poll(() => seen.returned).toBe(before.returned + 1);
  });

  it("whose reader is slow holds its sender back and does not break the connection", async () => {
    let sent = 0;
    const slow = createTtrpcServer({
      services: [
        ttrpcService(Echo, {
          unary: (request) => request,
          async *repeat() {
            while (sent++ < 1000) yield { value: new Uint8Array(1_000_000) };
          },
        }),
      ],
    });
    const path = abstract();
    await slow.listen(path);
    const own = createTtrpcTransport({ path });
    const { message } = await own.stream(Echo.method.repeat, undefined, undefined, undefined, letters("x"));
    const messages = message[Symbol.asyncIterator]();
    await messages.next();
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(sent).toBeLessThan(200);
    await new Promise((resolve) => setTimeout(resolve, 1500));
    // The stream is given up after its second; the connection lives.
    expect(textOf(await createClient(Echo, own).unary(bytes("alive")))).toBe("alive");
    let received = 1;
    const rest = (async () => {
      while ((await messages.next()).done !== true) received++;
    })();
    expect(await codeOfCall(rest)).toBe(Code.ResourceExhausted);
    expect(received).toBeLessThan(200);
    own.close();
    await slow.close({ graceMs: 0 });
  });
});

describe("transport", () => {
  it("tells when its connection is gone; pending and later calls are unavailable", async () => {
    const [ours, theirs] = await socketPair();
    let told = 0;
    const own = createTtrpcTransport({ socket: ours, onClose: () => told++ });
    const pending = codeOfCall(createClient(Echo, own).unary(bytes("a")));
    theirs.destroy();
    await own.closed;
    expect([await pending, await codeOfCall(createClient(Echo, own).unary(bytes("a"))), told]).toEqual([
      Code.Unavailable,
      Code.Unavailable,
      1,
    ]);
  });

  it("connects anew if asked to", async () => {
    const path = abstract();
    const own = createTtrpcTransport({ path, reconnect: true });
    for (let round = 0; round < 3; round++) {
      await using one = createTtrpcServer({ services: [echo] });
      await one.listen(path);
      await expect
        .poll(() =>
          createClient(Echo, own)
            .unary(bytes("a"))
            .then(textOf, () => ""),
        )
        .toBe("a");
      await one.close({ graceMs: 0 });
    }
    own.close();
    await own.closed;
  });

  it("is unavailable where nobody listens, and later connects", async () => {
    const path = abstract();
    await using own = createTtrpcTransport({ path });
    expect(await codeOfCall(own.connect())).toBe(Code.Unavailable);
    await using one = createTtrpcServer({ services: [echo] });
    await one.listen(path);
    await own.connect();
  });
});

async function socketPair(): Promise<[net.Socket, net.Socket]> {
  const listener = net.createServer().listen({ path: abstract() });
  await once(listener, "listening");
  const ours = net.connect({ path: listener.address() as string });
  const [theirs] = (await once(listener, "connection")) as [net.Socket];
  listener.close();
  return [ours, theirs];
}

describe("server", () => {
  it("serves a socket file of mode 0600, an inherited socket and services registered later", async () => {
    const directory = await mkdtemp(join(tmpdir(), "berth-ttrpc-"));
    const path = join(directory, "s");
    const one = createTtrpcServer();
    await one.listen(`unix://${path}`);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const [ours, theirs] = await socketPair();
    await one.serve(theirs);
    await using own = createTtrpcTransport({ socket: ours });
    expect(await codeOfCall(createClient(Echo, own).unary(bytes("a")))).toBe(Code.Unimplemented);
    one.register(Echo, { unary: (request) => request });
    expect(textOf(await createClient(Echo, own).unary(bytes("a")))).toBe("a");
    expect(() => one.register(Echo, {})).toThrow();
    await one.close();
    expect(existsSync(path)).toBe(false);
    await rm(directory, { recursive: true });
  });

  it("refuses whom authorize refuses", async () => {
    await using one = createTtrpcServer({
      services: [echo],
      authorize: async () => Promise.reject(permissionDenied("uid")),
    });
    const path = abstract();
    await one.listen(path);
    await using own = createTtrpcTransport({ path });
    expect(await codeOfCall(createClient(Echo, own).unary(bytes("a")))).toBe(Code.Unavailable);
    expect(one.connectionCount).toBe(0);
  });

  it("close lets active calls finish, closes idle connections at once, cuts off after the grace", async () => {
    const one = createTtrpcServer({ services: [echo] });
    const path = abstract();
    await one.listen(path);
    const [idle, busy, stuck] = [0, 1, 2].map(() => createTtrpcTransport({ path })) as [
      TtrpcTransport,
      TtrpcTransport,
      TtrpcTransport,
    ];
    await createClient(Echo, idle).unary(bytes("a"));
    const { started } = seen;
    const sleeping = createClient(Echo, busy).unary(bytes("sleep"));
    const waiting = codeOfCall(createClient(Echo, stuck).unary(bytes("wait")));
    await expect.poll(() => seen.started).toBe(started + 1);
    const closed = one.close({ graceMs: 400 });
    await idle.closed;
    expect(await codeOfCall(createClient(Echo, stuck).unary(bytes("late")))).toBe(Code.Unavailable);
    expect(textOf(await sleeping)).toBe("sleep");
    await closed;
    expect(await waiting).toBe(Code.Unavailable);
    await one.close();
  });
});
