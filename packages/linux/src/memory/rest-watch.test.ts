import { describe, expect, it } from "vitest";

import { RestWatch } from "./rest-watch.ts";

const MIB = 1 << 20;

/** Samples a second apart, each with the processor time of that second and the resident set at its end. */
function answers(
  watch: RestWatch,
  seconds: readonly (readonly [cpuMs: number, rssMib: number])[],
  start = 0,
): boolean[] {
  let cpuMs = 0;
  return seconds.map(([used, rssMib], index) =>
    watch.sample({ at: (start + index) * 1000, cpuMs: (cpuMs += used), rss: rssMib * MIB, threads: 7 }),
  );
}

/** Twelve of them are a rest. */
const quiet = (count: number, rssMib: number) => Array.from({ length: count }, () => [5, rssMib] as const);
const busy = (count: number, cpuMs: number, rssMib: number) =>
  Array.from({ length: count }, () => [cpuMs, rssMib] as const);

describe("RestWatch", () => {
  it.each([
    ["a busy second, then twelve quiet ones", [[0, 40], [500, 60], ...quiet(12, 60)], 13],
    ["twelve quiet ones, but for one", [[0, 40], [500, 60], ...quiet(11, 60), [21, 60], ...quiet(12, 60)], 25],
    ["work that does not end", busy(200, 21, 60), -1],
    ["nothing known of the second before", [[0, 40]], -1],
    ["no rest for a minute, then a quiet second", [[0, 40], ...busy(70, 50, 40), ...quiet(1, 40)], 71],
    ["no rest for less than a minute, then a quiet second", [[0, 40], ...busy(59, 50, 40), ...quiet(1, 40)], -1],
  ] as const)("finds rest: %s", (_, seconds, expected) => {
    expect(answers(new RestWatch(), seconds).indexOf(true)).toBe(expected);
  });

  it.each([
    ["nothing happened", 40, 0, false],
    ["it grew a little", 43, 0, false],
    ["it grew much", 44, 0, true],
    ["it shrank much", 36, 0, false],
    ["it worked a little", 40, 100, false],
    ["it worked much", 40, 150, true],
  ])("after a return: %s", (_, rssMib, cpuMs, expected) => {
    const watch = new RestWatch();
    watch.returned({ at: 0, cpuMs: 0, rss: 40 * MIB, threads: 7 });
    const seconds = [[cpuMs, rssMib] as const, ...busy(12, 1, rssMib)];
    expect(answers(watch, seconds, 1).at(-1)).toBe(expected);
  });

  it("the wait for a quiet second begins anew with the next work after a return", () => {
    const watch = new RestWatch();
    watch.returned({ at: 0, cpuMs: 0, rss: 40 * MIB, threads: 7 });
    const hour = busy(3600, 0, 40);
    expect(answers(watch, [...hour, [500, 40], ...quiet(12, 40)], 1).indexOf(true)).toBe(3600 + 12);
  });

  it.each([
    ["were there at the return", 9],
    ["began after it", 7],
  ])("misses threads that %s", (_, threads) => {
    const watch = new RestWatch();
    const now = { cpuMs: 0, rss: 40 * MIB };
    watch.returned({ at: 0, ...now, threads });
    const told = (from: number, count: number, left: number): number =>
      Array.from({ length: count }, (__, index) =>
        watch.sample({ at: (from + index) * 1000, ...now, threads: left }),
      ).indexOf(true);
    expect(told(1, 20, 9)).toBe(-1);
    expect(told(21, 1, 8)).toBe(0);
    watch.returned({ at: 21_000, ...now, threads: 8 });
    expect(told(22, 20, 8)).toBe(-1);
  });

  it("keeps its work to a fiftieth of the time", () => {
    const watch = new RestWatch();
    watch.sample({ at: 0, cpuMs: 0, rss: 80 * MIB, threads: 7 });
    watch.returned({ at: 0, cpuMs: 400, rss: 40 * MIB, threads: 7 });
    expect(answers(watch, busy(30, 0, 90)).indexOf(true)).toBe(20);
  });
});
