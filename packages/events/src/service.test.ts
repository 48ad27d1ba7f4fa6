import { TaskExitSchema } from "@berth/api/containerd/events/task";
import { codeName, codeOf } from "@berth/errors";
import { create, toBinary } from "@bufbuild/protobuf";
import { createClient, createRouterTransport } from "@connectrpc/connect";
import { expect, it } from "vitest";

import { createEventExchange } from "./event-exchange.ts";
import { createEventsService, createTtrpcEventsService, Events, TtrpcEvents } from "./service.ts";

const exchange = createEventExchange();
const transport = createRouterTransport((router) => {
  router.service(Events, createEventsService(exchange));
  router.service(TtrpcEvents, createTtrpcEventsService(exchange));
});
const client = createClient(Events, transport);
const shim = createClient(TtrpcEvents, transport);
const headers = { headers: { "containerd-namespace": "testing" } };
const event = {
  typeUrl: TaskExitSchema.typeName,
  value: toBinary(TaskExitSchema, create(TaskExitSchema, { id: "e" })),
};
const envelope = { timestamp: { seconds: 7n, nanos: 5 }, namespace: "other", topic: "/tasks/exit", event };

async function codeThrown(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => "ok",
    (error: unknown) => codeName(codeOf(error)),
  );
}

async function firstOf<T>(values: AsyncIterable<T>): Promise<T | undefined> {
  for await (const value of values) return value;
  return undefined;
}

it("subscribers see what clients publish and shims forward, until they leave", async () => {
  const controller = new AbortController();
  const stream = client.subscribe({ filters: ["event.id==e", "namespace==testing"] }, { signal: controller.signal });
  const events = stream[Symbol.asyncIterator]();
  const first = events.next();
  // The subscription begins when the request arrives.
  await new Promise((resolve) => setImmediate(resolve));
  await client.publish({ topic: "/a" }, headers);
  await shim.forward({ envelope });
  await client.forward({ envelope: { ...envelope, topic: "/b" } });
  const published = (await first).value;
  expect(published).toMatchObject({ namespace: "testing", topic: "/a" });
  expect(published?.event).toBeUndefined();
  expect(Number(published?.timestamp?.seconds)).toBeGreaterThan(Date.now() / 1000 - 60);
  expect((await events.next()).value).toMatchObject(envelope);
  expect((await events.next()).value).toMatchObject({ topic: "/b", namespace: "other" });
  controller.abort();
  expect(await codeThrown(events.next())).toBe("canceled");
});

it("an event that a shim sends again is passed on once, one that differs in anything beside it", async () => {
  const controller = new AbortController();
  const seen: bigint[] = [];
  const events = exchange.subscribe({ signal: controller.signal });
  const at = (nanos: number) => ({ ...envelope, timestamp: { seconds: 8n, nanos } });
  const other = { ...at(1), event: { ...event, value: new Uint8Array(0) } };
  const sent = [at(1), at(2), at(1), other, { ...at(1), topic: "/tasks/oom" }, { ...at(1), namespace: "third" }, at(3)];
  for (const each of sent) await shim.forward({ envelope: each });
  for await (const { timestampNs } of events) {
    seen.push(timestampNs - 8_000_000_000n);
    if (timestampNs === 8_000_000_003n) controller.abort();
  }
  expect(seen).toEqual([1n, 2n, 1n, 1n, 1n, 3n]);
});

it("an event that could not be passed on may be sent again", async () => {
  const refused = { ...envelope, topic: "bad", timestamp: { seconds: 9n, nanos: 0 } };
  for (let times = 0; times < 2; times++)
    expect(await codeThrown(shim.forward({ envelope: refused }))).toBe("invalid_argument");
});

it.each([
  ["publish without a namespace", () => client.publish({ topic: "/a", event }), "failed_precondition"],
  ["publish to a bad topic", () => client.publish({ topic: "a", event }, headers), "invalid_argument"],
  ["forward of nothing", () => client.forward({}), "invalid_argument"],
  [
    "forward without a time",
    () => shim.forward({ envelope: { ...envelope, timestamp: undefined } }),
    "invalid_argument",
  ],
  [
    "forward from a bad namespace",
    () => shim.forward({ envelope: { ...envelope, namespace: "a/b" } }),
    "invalid_argument",
  ],
  ["subscribe with a bad filter", () => firstOf(client.subscribe({ filters: ["=="] })), "invalid_argument"],
])("%s is refused", async (_, call, code) => {
  expect(await codeThrown(call())).toBe(code);
});
