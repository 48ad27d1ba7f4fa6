import { TaskExitSchema } from "@berth/api/containerd/events/task";
import type { EventEnvelope } from "@berth/core/events";
import { parseNamespace } from "@berth/core/namespaces";
import { codeName, codeOf } from "@berth/errors";
import { create, toBinary } from "@bufbuild/protobuf";
import { expect, it } from "vitest";

import { createEventExchange } from "./event-exchange.ts";

const k8s = parseNamespace("k8s.io");
const exit = (containerId: string) => ({
  typeUrl: TaskExitSchema.typeName,
  value: toBinary(TaskExitSchema, create(TaskExitSchema, { containerId })),
});

async function codeThrown(call: () => unknown): Promise<string> {
  try {
    await call();
  } catch (error) {
    return codeName(codeOf(error));
  }
  return "ok";
}

it.each([
  [[], ["/tasks/exit", "/images/create"]],
  [["topic==/images/create"], ["/images/create"]],
  [["event.container_id==redis"], ["/tasks/exit"]],
  [["topic~=/tasks/,namespace==other"], []],
  [
    ["topic~=/tasks/,namespace==k8s.io", "topic==/images/create"],
    ["/tasks/exit", "/images/create"],
  ],
  [["nothing"], []],
])("subscribe with %j gets %j", async (filters, expected) => {
  const exchange = createEventExchange();
  const controller = new AbortController();
  const events = exchange.subscribe({ filters, signal: controller.signal });
  await exchange.publish(k8s, "/tasks/exit", exit("redis"));
  await exchange.publish(k8s, "/images/create", { typeUrl: "x", value: new Uint8Array() });
  const seen: string[] = [];
  const reading = (async () => {
    for await (const { topic } of events) {
      seen.push(topic);
      if (seen.length === expected.length) break;
    }
  })();
  if (expected.length === 0) controller.abort();
  await reading;
  expect(seen).toEqual(expected);
});

it("publish stamps the time, forward keeps it", async () => {
  const exchange = createEventExchange();
  const events = exchange.subscribe()[Symbol.asyncIterator]();
  const before = BigInt(Date.now() - 1000) * 1_000_000n;
  await exchange.publish(k8s, "/tasks/exit", exit("a"));
  const old: EventEnvelope = { timestampNs: 7n, namespace: k8s, topic: "/tasks/exit", event: exit("b") };
  await exchange.forward(old);
  const first = await events.next();
  expect(first.value.timestampNs).toBeGreaterThan(before);
  expect(first.value.timestampNs).toBeLessThan(before + 60_000_000_000n);
  expect((await events.next()).value).toEqual(old);
});

it.each([
  ["publish with a bad topic", "publish", { topic: "tasks" }],
  ["forward with a bad topic", "forward", { topic: "/tasks/" }],
  ["forward without a time", "forward", { timestampNs: 0n }],
  ["forward without a namespace", "forward", { namespace: "" }],
] as const)("%s is invalid_argument", async (_, kind, change) => {
  const exchange = createEventExchange();
  // The wire may carry any text as a namespace; the exchange is the last to check it.
  const envelope = { timestampNs: 1n, namespace: k8s, topic: "/t", event: exit("a"), ...change } as EventEnvelope;
  const call =
    kind === "publish"
      ? () => exchange.publish(envelope.namespace, envelope.topic, envelope.event)
      : () => exchange.forward(envelope);
  expect(await codeThrown(call)).toBe("invalid_argument");
});

it("subscribe throws invalid_argument at once for a bad filter", async () => {
  expect(await codeThrown(() => createEventExchange().subscribe({ filters: ["topic=="] }))).toBe("invalid_argument");
});

it("a slow subscriber is ended, others go on", async () => {
  const exchange = createEventExchange({ maxQueued: 3 });
  const slow = exchange.subscribe()[Symbol.asyncIterator]();
  const fast = exchange.subscribe()[Symbol.asyncIterator]();
  for (let n = 0; n < 5; n++) {
    await exchange.publish(k8s, "/t", exit(String(n)));
    expect((await fast.next()).done).toBe(false);
  }
  expect(await codeThrown(() => slow.next())).toBe("resource_exhausted");
});
