// Draws faults and says whether every promise was kept: npm run test:faults -- --rounds <n> --seed <s> [--only kill|start|power|error|full].
// A round that failed is repeated by its own seed: --rounds 1 --seed <seed of the round>.
import { parseArgs } from "node:util";

import { FAULT_KINDS, RandomRounds } from "./random-rounds.ts";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "100" },
    seed: { type: "string", default: String(Date.now() % 1_000_000_000) },
    only: { type: "string" },
  },
});
const rounds = Number(values.rounds);
const seed = Number(values.seed);
const kinds = FAULT_KINDS.filter((kind) => values.only === undefined || values.only === kind);
if (!Number.isSafeInteger(rounds) || !Number.isSafeInteger(seed) || kinds.length === 0) {
  throw new Error(`--rounds and --seed take numbers, --only one of ${FAULT_KINDS.join(", ")}`);
}
console.log(`seed ${seed}`);
const stop = new AbortController();
// After the round under way: daemons and disks are not left behind.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, () => stop.abort());
let done = 0;
let failed = 0;
let missed = 0;
{
  await using faults = new RandomRounds();
  for (let round = 0; round < rounds && !stop.signal.aborted; round++, done++) {
    const outcome = await faults.run(seed + round, kinds);
    // An interrupt at the terminal reaches the daemons too: that round tells nothing.
    if (stop.signal.aborted) break;
    if (outcome.missed) missed++;
    const state = outcome.problems.length > 0 ? "FAILED" : outcome.missed ? "ok (too late)" : "ok";
    console.log(`${state}: --rounds 1 --seed ${seed + round}: ${outcome.description}`);
    for (const problem of outcome.problems) console.log(`  ${problem}`);
    if (outcome.problems.length > 0) failed++;
  }
}
console.log(`${missed} faults came after the end of what they were meant for`);
console.log(`${done - failed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
