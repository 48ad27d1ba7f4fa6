import type { EventEnvelope } from "@berth/core/events";
import { parseNamespace } from "@berth/core/namespaces";
import { codeName, codeOf } from "@berth/errors";
import { expect, it, vi } from "vitest";

import { Subscription } from "./subscription.ts";

const envelope = (n: number, bytes = 0): EventEnvelope => ({
  timestampNs: BigInt(n),
  namespace: parseNamespace("default"),
  topic: "/t",
  event: { typeUrl: "t", value: new Uint8Array(bytes) },
});

const limits = { maxQueued: 5000, maxQueuedBytes: 10_000_000 };

async function read(subscription: Subscription): Promise<bigint[]> {
  const seen: bigint[] = [];
  for await (const { timestampNs } of subscription) seen.push(timestampNs);
  return seen;
}

it("Subscription keeps the order of queued and awaited events", async () => {
  const controller = new AbortController();
  const subscription = new Subscription(limits, controller.signal, () => {});
  for (let n = 1; n <= 3000; n++) subscription.push(envelope(n));
  const seen: number[] = [];
  for await (const { timestampNs } of subscription) {
    seen.push(Number(timestampNs));
    if (seen.length === 3000) setImmediate(() => subscription.push(envelope(3001)));
    if (seen.length === 3001) break;
  }
  expect(seen).toEqual(Array.from({ length: 3001 }, (_, index) => index + 1));
});

it.each([
  ["events", { maxQueued: 2, maxQueuedBytes: 1e9 }, 0],
  ["bytes", { maxQueued: 1e9, maxQueuedBytes: 1000 }, 500],
])("Subscription ends with resource_exhausted past its limit of %s", async (_, tight, bytes) => {
  const onEnd = vi.fn();
  const subscription = new Subscription(tight, undefined, onEnd);
  for (let n = 1; n <= 3; n++) subscription.push(envelope(n, bytes));
  expect(onEnd).toHaveBeenCalledOnce();
  const error: unknown = await subscription.next().catch((thrown: unknown) => thrown);
  expect(codeName(codeOf(error))).toBe("resource_exhausted");
  expect(await subscription.next()).toEqual({ done: true, value: undefined });
});

it("Subscription ends a waiting read when its signal aborts, and leaves the exchange", async () => {
  const controller = new AbortController();
  const onEnd = vi.fn();
  const subscription = new Subscription(limits, controller.signal, onEnd);
  const reading = read(subscription);
  controller.abort();
  expect(await reading).toEqual([]);
  expect(onEnd).toHaveBeenCalledOnce();
});

it("Subscription with an aborted signal is over at once", async () => {
  expect(await read(new Subscription(limits, AbortSignal.abort(), () => {}))).toEqual([]);
});
