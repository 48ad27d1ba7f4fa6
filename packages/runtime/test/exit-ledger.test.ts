import { setImmediate as turn } from "node:timers/promises";

import type { EventEnvelope, EventExchange } from "@berth/core/events";
import { silentLogger } from "@berth/core/log";
import { resourceExhausted } from "@berth/errors";
import { expect, it } from "vitest";

import { ExitLedger } from "../src/exit-ledger.ts";
import { eventually } from "./harness.ts";

/** More than any pause allows: from here on it waits, for a test that fails instead of one that never ends. */
const TOO_MANY = 1000;

/** Fails each subscription of its readers, at once. */
class FailingExchange implements EventExchange {
  subscriptions = 0;

  async publish(): Promise<void> {}

  async forward(): Promise<void> {}

  subscribe({ signal }: { readonly signal?: AbortSignal | undefined } = {}): AsyncIterable<EventEnvelope> {
    this.subscriptions += 1;
    if (this.subscriptions < TOO_MANY) throw resourceExhausted("queue is full");
    const ended = new Promise<IteratorResult<EventEnvelope>>((resolve) => {
      signal?.addEventListener("abort", () => resolve({ done: true, value: undefined }));
    });
    return { [Symbol.asyncIterator]: () => ({ next: () => ended }) };
  }
}

it("ExitLedger whose subscription fails every time tries again after a pause, in which everything else goes on", async () => {
  const events = new FailingExchange();
  await using _ledger = new ExitLedger(events, silentLogger, () => undefined);
  await turn();
  await turn();
  expect(events.subscriptions).toBeLessThan(TOO_MANY);
  const before = events.subscriptions;
  await eventually(() => events.subscriptions > before);
});
