import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { HistoryRuns, SHIM_OWNERS } from "./history-runs.ts";

/** More of them: BERTH_HISTORIES=1000; another course of them: BERTH_HISTORY_SEED. npm run test:faults -- --only histories runs on after a failure. */
const HISTORIES = Number(process.env["BERTH_HISTORIES"] ?? 3);
const SEED = Number(process.env["BERTH_HISTORY_SEED"] ?? 37);

describe.each(SHIM_OWNERS)("random histories of %s", { timeout: 120_000 }, (owner) => {
  let runs: HistoryRuns;

  beforeAll(async () => {
    runs = await HistoryRuns.open(owner);
  });
  afterAll(() => runs[Symbol.asyncDispose]());

  it.each(Array.from({ length: HISTORIES }, (__, index) => SEED + index))("seed %d", async (seed) => {
    expect(await runs.run(seed)).toEqual({ failure: undefined, history: [], log: [] });
  });
});
