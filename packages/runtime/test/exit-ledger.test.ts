import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";

import type { EventEnvelope, EventExchange } from "@berth/core/events";
import { silentLogger } from "@berth/core/log";
import { parseNamespace } from "@berth/core/namespaces";
import { nowNs } from "@berth/core/timestamp";
import { resourceExhausted } from "@berth/errors";
import { temporaryDirectory } from "@berth/testing";
import { expect, it } from "vitest";

import { Bundle } from "../src/bundle.ts";
import { ExitLedger } from "../src/exit-ledger.ts";
import { ShimTask } from "../src/shim-task.ts";
import { publishExit } from "../src/task-events.ts";
import { eventually, RecordingExchange } from "./harness.ts";

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

async function setUp() {
  const stack = new AsyncDisposableStack();
  const { path } = stack.use(await temporaryDirectory("exit-ledger"));
  const bundle = new Bundle({ stateDir: path, rootDir: path }, { namespace: parseNamespace("one"), id: "c" });
  await mkdir(join(bundle.path, "exits"), { recursive: true });
  // The ledger does not talk to the shim.
  const connection = undefined as unknown as ShimTask["connection"];
  const task = new ShimTask({ bundle, binary: undefined, connection, resources: new AsyncDisposableStack() });
  const events = new RecordingExchange();
  const ledger = stack.use(new ExitLedger(events, silentLogger, () => task));
  const tell = (execId: string) => publishExit(events, task, execId, { pid: 1, exitStatus: 0, exitedAtNs: nowNs() });
  return { task, events, ledger, tell, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

it("ExitLedger keeps nothing of an exec that nobody waits for", async () => {
  await using test = await setUp();
  for (let n = 0; n < 50; n++) await test.tell(`probe${n}`);
  await test.tell("");
  await eventually(() => test.task.isExitSent);
  expect(test.task.exitsAwaited.size).toBe(0);
});

it("ExitLedger tells of execs that ended unheard, unless their shim does meanwhile", async () => {
  await using test = await setUp();
  const { task, events } = test;
  // in three seconds the shim will have given up
  const exitedAt = new Date(Date.now() - 22_000).toISOString();
  for (const execId of ["told", "untold"]) {
    const record = { id: task.id, execId, pid: 1, exitStatus: 0, exitedAt };
    await writeFile(join(task.bundle.path, "exits", `exec.${execId}.json`), JSON.stringify(record));
  }
  await test.ledger.settle(task);
  expect([...task.exitsAwaited].toSorted()).toEqual(["told", "untold"]);
  await test.tell("told");
  await eventually(() => events.exits().length === 2, 10_000);
  expect(task.exitsAwaited.size).toBe(0);
  expect(events.exits().map(({ id }) => id)).toEqual(["told", "untold"]);
});
