import { setImmediate as turn } from "node:timers/promises";

import { expect, it } from "vitest";

import { SyncGate } from "./sync-gate.ts";

it("lets many hold it or one close it, and nobody in past one who waits", async () => {
  const gate = new SyncGate();
  const events: string[] = [];
  const first = await gate.hold();
  const second = await gate.hold();
  const closing = gate.close().then((closed) => {
    events.push("closed");
    return closed;
  });
  const late = gate.hold().then((hold) => {
    events.push("held");
    return hold;
  });
  first[Symbol.dispose]();
  first[Symbol.dispose]();
  await turn();
  expect(events).toEqual([]);
  second[Symbol.dispose]();
  const closed = await closing;
  await turn();
  expect(events).toEqual(["closed"]);
  closed[Symbol.dispose]();
  using _late = await late;
  expect(events).toEqual(["closed", "held"]);
  const aborted = AbortSignal.abort(new Error("enough"));
  const waiting = gate.close();
  await expect(gate.hold({ signal: aborted })).rejects.toThrow("enough");
  _late[Symbol.dispose]();
  (await waiting)[Symbol.dispose]();
});
