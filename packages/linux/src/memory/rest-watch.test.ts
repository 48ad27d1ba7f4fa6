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

describe("RestWatch", () => {
  it.each([
    [
      "a busy second, then a quiet one",
      [
        [0, 40],
        [500, 60],
        [5, 60],
      ],
      [false, false, true],
    ],
    [
      "work that does not end",
      [
        [0, 40],
        [500, 60],
        [21, 60],
        [21, 60],
      ],
      [false, false, false, false],
    ],
    ["nothing known of the second before", [[0, 40]], [false]],
  ] as const)("finds rest: %s", (_, seconds, expected) => {
    expect(answers(new RestWatch(), seconds)).toEqual(expected);
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
    const seconds = [
      [cpuMs, rssMib],
      [1, rssMib],
    ] as const;
    expect(answers(watch, seconds, 1).at(-1)).toBe(expected);
  });

  it.each([
    ["were there at the return", 9],
    ["began after it", 7],
  ])("misses threads that %s", (_, threads) => {
    const watch = new RestWatch();
    const now = { cpuMs: 0, rss: 40 * MIB };
    watch.returned({ at: 0, ...now, threads });
    expect(watch.sample({ at: 1000, ...now, threads: 9 })).toBe(false);
    expect(watch.sample({ at: 2000, ...now, threads: 9 })).toBe(false);
    expect(watch.sample({ at: 3000, ...now, threads: 8 })).toBe(true);
    watch.returned({ at: 3000, ...now, threads: 8 });
    expect(watch.sample({ at: 4000, ...now, threads: 8 })).toBe(false);
    expect(watch.sample({ at: 5000, ...now, threads: 8 })).toBe(false);
  });

  it("keeps its work to a fiftieth of the time", () => {
    const watch = new RestWatch();
    watch.sample({ at: 0, cpuMs: 0, rss: 80 * MIB, threads: 7 });
    watch.returned({ at: 0, cpuMs: 100, rss: 40 * MIB, threads: 7 });
    const asked = answers(
      watch,
      Array.from({ length: 8 }, () => [0, 90] as const),
    );
    expect(asked.indexOf(true)).toBe(5);
  });
});
