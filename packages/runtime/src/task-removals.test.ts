import type { ExitStatus } from "@berth/core/runtime";
import { expect, it } from "vitest";

import { TaskRemovals } from "./task-removals.ts";

const exit: ExitStatus = { pid: 1, exitStatus: 7, exitedAtNs: 0n };

function setUp() {
  const removals = new TaskRemovals<object>();
  const task = {};
  const made: PromiseWithResolvers<ExitStatus>[] = [];
  const remove = async (): Promise<ExitStatus> => {
    const removal = Promise.withResolvers<ExitStatus>();
    made.push(removal);
    return await removal.promise;
  };
  const run = (signal?: AbortSignal) => removals.run(task, "one/c", remove, { signal });
  return { removals, made, run };
}

const outcome = (work: Promise<ExitStatus>) =>
  work.then(
    ({ exitStatus }) => exitStatus,
    (error: unknown) => String(error),
  );

it("TaskRemovals makes one removal for all who ask, and one who leaves takes nothing from the others", async () => {
  const { removals, made, run } = setUp();
  const leaver = new AbortController();
  const answers = [outcome(run(leaver.signal)), outcome(run()), outcome(run(new AbortController().signal))];
  leaver.abort("left");
  expect(await answers[0]).toBe("left");
  expect(made).toHaveLength(1);
  made[0]?.resolve(exit);
  expect(await Promise.all(answers)).toEqual(["left", 7, 7]);
  expect(removals.takeUnheard("one/c")).toBeUndefined();
});

it("TaskRemovals keeps the exit status that nobody waited for, once", async () => {
  const { removals, made, run } = setUp();
  const leaver = new AbortController();
  const answer = outcome(run(leaver.signal));
  leaver.abort("left");
  await answer;
  made[0]?.resolve(exit);
  await removals.settled();
  expect(removals.takeUnheard("one/other")).toBeUndefined();
  expect(removals.takeUnheard("one/c")).toEqual(exit);
  expect(removals.takeUnheard("one/c")).toBeUndefined();
});

it("TaskRemovals begins nothing for one who has left, and anew after a failure", async () => {
  const { made, run } = setUp();
  expect(await outcome(run(AbortSignal.abort("left before")))).toBe("left before");
  expect(made).toHaveLength(0);
  const failing = outcome(run());
  made[0]?.reject(new Error("busy"));
  expect(await failing).toBe("Error: busy");
  const again = outcome(run());
  made[1]?.resolve(exit);
  expect(await again).toBe(7);
});
