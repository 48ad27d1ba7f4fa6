// Random lives of tasks against a model: npm run test:faults -- --only histories --rounds <n> --seed <s>.
import { parseArgs } from "node:util";

import { messageOf } from "@berth/errors";

import { HistoryRuns, SHIM_OWNERS } from "./history-runs.ts";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "1000" },
    seed: { type: "string", default: String(Date.now() % 1_000_000_000) },
    only: { type: "string" },
  },
});
const rounds = Number(values.rounds);
const first = Number(values.seed);
console.log(`seed ${first}`);
let failed = 0;
// the same histories with both: half of them each
for (const owner of SHIM_OWNERS) failed += await runAll(owner, Math.ceil(rounds / SHIM_OWNERS.length));
console.log(`${rounds - failed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;

async function runAll(owner: (typeof SHIM_OWNERS)[number], count: number): Promise<number> {
  let failures = 0;
  let runs = await HistoryRuns.open(owner);
  for (let seed = first; seed < first + count; seed++) {
    const { failure, history } = await runs.run(seed);
    if (failure !== undefined) {
      failures++;
      console.log(`FAILED ${owner}, seed ${seed}: ${messageOf(failure)}: ${history.join(" ")}`);
      // what it left behind is not the next one's
      await runs[Symbol.asyncDispose]();
      runs = await HistoryRuns.open(owner);
    }
    if ((seed - first) % 50 === 49) console.log(`${owner}: ${seed - first + 1} histories`);
  }
  await runs[Symbol.asyncDispose]();
  return failures;
}
