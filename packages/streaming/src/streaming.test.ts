import { setTimeout as sleep } from "node:timers/promises";

import { StreamInitSchema } from "@berth/api/containerd/services/streaming/v1/streaming";
import type { AnyValue } from "@berth/core/any";
import { parseNamespace } from "@berth/core/namespaces";
import type { Stream } from "@berth/core/streaming";
import { codeName, codeOf } from "@berth/errors";
import { create, toBinary } from "@bufbuild/protobuf";
import { type Client, createClient, createRouterTransport } from "@connectrpc/connect";
import { beforeEach, expect, it } from "vitest";

import { createStreamingService, Streaming } from "./service.ts";
import { ServiceStream } from "./service-stream.ts";
import { LocalStreamManager } from "./stream-manager.ts";

const namespace = parseNamespace("testing");
const headers = { "containerd-namespace": namespace };

let streams: LocalStreamManager;
let client: Client<typeof Streaming>;

beforeEach(() => {
  streams = new LocalStreamManager();
  const transport = createRouterTransport((router) => {
    router.service(Streaming, createStreamingService({ streams, initTimeoutMs: 100 }));
  });
  client = createClient(Streaming, transport);
});

const init = (id: string): AnyValue => ({
  typeUrl: StreamInitSchema.typeName,
  value: toBinary(StreamInitSchema, create(StreamInitSchema, { id })),
});
const message = (number: number): AnyValue => ({ typeUrl: "a.Message", value: Uint8Array.of(number) });

/** A client whose messages are given one by one. */
function open(options: { headers?: Record<string, string>; signal?: AbortSignal } = {}) {
  const waiting: AnyValue[] = [];
  let changed = Promise.withResolvers<void>();
  let ended = false;
  async function* requests() {
    for (;;) {
      const next = waiting.shift();
      if (next !== undefined) yield next;
      else if (ended) return;
      else await changed.promise;
    }
  }
  const notify = (): void => {
    changed.resolve();
    changed = Promise.withResolvers();
  };
  const answers = client.stream(requests(), { headers, ...options })[Symbol.asyncIterator]();
  return {
    send: (any: AnyValue): void => {
      waiting.push(any);
      notify();
    },
    end: (): void => {
      ended = true;
      notify();
    },
    receive: async (): Promise<number | string | undefined> => {
      const { done, value } = await answers.next();
      return done === true ? undefined : (value.value[0] ?? value.typeUrl);
    },
  };
}

async function opened(id: string, options = {}) {
  const mine = open(options);
  mine.send(init(id));
  expect(await mine.receive()).toBe("google.protobuf.Empty");
  return { mine, theirs: streams.get(namespace, id) };
}

async function codeThrown(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => "ok",
    (error: unknown) => codeName(codeOf(error)),
  );
}

const codeOfGet = (id: string): Promise<string> => codeThrown((async () => streams.get(namespace, id))());

it("messages go both ways, in order, and the end of the one side is seen by the other", async () => {
  const { mine, theirs } = await opened("s");
  for (const number of [1, 2, 3]) mine.send(message(number));
  expect((await theirs.receive())?.value[0]).toBe(1);
  for (const number of [7, 8]) await theirs.send(message(number));
  expect([await mine.receive(), await mine.receive()]).toEqual([7, 8]);
  expect([(await theirs.receive())?.value[0], (await theirs.receive())?.value[0]]).toEqual([2, 3]);
  mine.end();
  expect(await theirs.receive()).toBeUndefined();
  // The client has nothing more to say, but still listens.
  await theirs.send(message(9));
  theirs.close();
  expect([await mine.receive(), await mine.receive()]).toEqual([9, undefined]);
  expect(await codeThrown(theirs.send(message(1)))).toBe("unavailable");
  await expect.poll(() => codeOfGet("s")).toBe("not_found");
});

it("an id is taken until its stream is over; other namespaces have it too", async () => {
  const { theirs } = await opened("s");
  const second = open();
  second.send(init("s"));
  expect(await codeThrown(second.receive())).toBe("already_exists");
  await expect(codeOfGet("s")).resolves.toBe("ok");
  await opened("other");
  const foreign = open({ headers: { "containerd-namespace": "another" } });
  foreign.send(init("s"));
  expect(await foreign.receive()).toBe("google.protobuf.Empty");
  theirs.close();
  await expect.poll(() => codeOfGet("s")).toBe("not_found");
  await opened("s");
});

it("a client that leaves ends its stream", async () => {
  const controller = new AbortController();
  const { theirs } = await opened("s", { signal: controller.signal });
  const reading = theirs.receive().catch(() => undefined);
  controller.abort();
  expect(await reading).toBeUndefined();
  await expect.poll(() => codeOfGet("s")).toBe("not_found");
  expect(await codeThrown(theirs.send(message(1)))).toBe("unavailable");
});

it.each([
  ["another message", [message(1)], {}, "invalid_argument"],
  ["bytes that are none", [{ typeUrl: StreamInitSchema.typeName, value: Uint8Array.of(255) }], {}, "invalid_argument"],
  ["an empty id", [init("")], {}, "invalid_argument"],
  ["no namespace", [init("s")], { headers: {} }, "failed_precondition"],
  ["nothing", [], {}, "deadline_exceeded"],
])("a stream that begins with %s is refused", async (_, first, options, code) => {
  const mine = open(options);
  for (const each of first) mine.send(each);
  expect(await codeThrown(mine.receive())).toBe(code);
});

it("a reader that gives up takes nothing away, and a writer waits for a client that does not read", async () => {
  const { promise, resolve } = Promise.withResolvers<IteratorResult<AnyValue>>();
  const stream = new ServiceStream(
    { next: () => promise },
    { signal: new AbortController().signal, onClose: () => {} },
  );
  expect(await codeThrown(stream.receive({ signal: AbortSignal.timeout(10) }))).toBe("deadline_exceeded");
  resolve({ done: false, value: message(5) });
  expect((await stream.receive())?.value[0]).toBe(5);
  let sent = 0;
  const writing = (async () => {
    for (; sent < 1000; sent++) await stream.send(message(1));
  })();
  await sleep(20);
  expect(sent).toBeLessThan(100);
  let read = 0;
  for await (const _ of stream.outgoing()) if (++read === 1000) stream.close();
  await writing;
  expect(sent).toBe(1000);
});

it("the collector sees all streams, and closes those that were garbage", async () => {
  const { mine, theirs } = await opened("leased", { headers: { ...headers, "containerd-lease": "l1" } });
  await opened("free");
  const collection = await streams.collector.begin();
  const items = [...collection.items];
  expect(items.map(({ key, lease, active }) => [key, lease, active])).toEqual([
    ["leased", "l1", true],
    ["free", undefined, true],
  ]);
  for (const item of items) if (item.key === "leased") collection.remove(item);
  await collection.finish();
  expect(await mine.receive()).toBeUndefined();
  expect(await codeThrown(theirs.send(message(1)))).toBe("unavailable");
  expect([await codeOfGet("leased"), await codeOfGet("free")]).toEqual(["not_found", "ok"]);
});

it("the collector leaves a stream alone that came since under the same id", async () => {
  const closed: string[] = [];
  const stream = (name: string): Stream => ({
    send: async () => {},
    receive: async () => undefined,
    close: () => void closed.push(name),
  });
  const first = stream("first");
  const second = stream("second");
  streams.register(namespace, "s", first, { lease: "l1" });
  const collection = await streams.collector.begin();
  for (const item of collection.items) collection.remove(item);
  streams.unregister(namespace, "s", first);
  streams.register(namespace, "s", second);
  await collection.finish();
  expect(streams.get(namespace, "s")).toBe(second);
  expect(closed).toEqual(["first"]);
});
