// Random lives of tasks against a model: npm run test:faults -- --only histories --rounds <n> --seed <s> [--shim debian|berth].
// One that failed is repeated by its own seed: --rounds 1 --seed <seed of the history> --shim <whose>.
import { parseArgs } from "node:util";

import { messageOf } from "@berth/errors";

import { HistoryRuns, SHIM_OWNERS, type ShimOwner } from "./history-runs.ts";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "1000" },
    seed: { type: "string", default: String(Date.now() % 1_000_000_000) },
    only: { type: "string" },
    shim: { type: "string" },
  },
});
const owners = SHIM_OWNERS.filter((owner) => owner.toLowerCase().startsWith(values.shim ?? ""));
if (owners.length === 0) throw new Error("--shim takes debian or berth");
const rounds = Number(values.rounds);
const first = Number(values.seed);
console.log(`seed ${first}`);
let failed = 0;
// the same histories with both where none is named: half of them each
for (const owner of owners) failed += await runAll(owner, Math.ceil(rounds / owners.length));
console.log(`${rounds - failed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;

async function runAll(owner: ShimOwner, count: number): Promise<number> {
  let failures = 0;
  let runs = await HistoryRuns.open(owner);
  for (let seed = first; seed < first + count; seed++) {
    const { failure, history, log } = await runs.run(seed);
    if (failure !== undefined) {
      failures++;
      console.log(`FAILED ${owner}, seed ${seed}: ${messageOf(failure)}: ${history.join(" ")}`);
      for (const line of log) console.log(`  ${line}`);
      // what it left behind is not the next one's
      await runs[Symbol.asyncDispose]();
      runs = await HistoryRuns.open(owner);
    }
    if ((seed - first) % 50 === 49) console.log(`${owner}: ${seed - first + 1} histories`);
  }
  await runs[Symbol.asyncDispose]();
  return failures;
}
