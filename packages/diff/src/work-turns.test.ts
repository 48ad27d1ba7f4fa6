import { describe, expect, it } from "vitest";

import type { WorkTurn } from "./work-turns.ts";
import { WorkTurns } from "./work-turns.ts";

describe("WorkTurns", () => {
  const never = new AbortController().signal;
  /** Whatever can be let in is let in at once. */
  const letIn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

  function ask(turns: WorkTurns, count: number): WorkTurn[] {
    const given: WorkTurn[] = [];
    for (let index = 0; index < count; index++) void turns.acquire(never).then((turn) => given.push(turn));
    return given;
  }

  it("lets so many work, and others while these wait, up to so many together", async () => {
    const turns = new WorkTurns({ atWork: 1, atOnce: 3 });
    const given = ask(turns, 5);
    await letIn();
    expect(given).toHaveLength(1);
    given[0]?.pause();
    await letIn();
    expect(given).toHaveLength(2);
    given[1]?.pause();
    given[1]?.pause();
    await letIn();
    expect(given).toHaveLength(3);
    given[2]?.pause();
    await letIn();
    expect(given).toHaveLength(3);
    given[0]?.[Symbol.dispose]();
    given[0]?.[Symbol.dispose]();
    await letIn();
    expect(given).toHaveLength(4);
  });

  it("counts who works again, without waiting for others", async () => {
    const turns = new WorkTurns({ atWork: 1, atOnce: 9 });
    const given = ask(turns, 3);
    await letIn();
    given[0]?.pause();
    await letIn();
    given[0]?.resume();
    given[0]?.resume();
    given[1]?.[Symbol.dispose]();
    await letIn();
    expect(given).toHaveLength(2);
    given[0]?.[Symbol.dispose]();
    given[0]?.pause();
    given[0]?.resume();
    await letIn();
    expect(given).toHaveLength(3);
  });

  it("loses no place to a wait that is given up", async () => {
    const turns = new WorkTurns({ atWork: 1, atOnce: 2 });
    const first = await turns.acquire(never);
    const stop = new AbortController();
    const given = turns.acquire(stop.signal);
    const next = turns.acquire(never);
    stop.abort();
    await expect(given).rejects.toThrow();
    first[Symbol.dispose]();
    (await next)[Symbol.dispose]();
    await expect(turns.acquire(stop.signal)).rejects.toThrow();
    await turns.acquire(never);
  });
});
