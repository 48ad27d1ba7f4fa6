// Thousands of execs and containers against one shim: npm run test:faults -- --only shim --rounds <n> --seed <s>.
import { parseArgs } from "node:util";

import { ShimCycles } from "./shim-cycles.ts";

const MIB = 1024 * 1024;
const MAY_GROW_MIB = 16;

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "5000" },
    seed: { type: "string", default: String(Date.now() % 1_000_000_000) },
    only: { type: "string" },
  },
});
const rounds = Number(values.rounds);
console.log(`seed ${values.seed}`);
await using cycles = await ShimCycles.open(Number(values.seed));
// a heap grows until the first collections of everything; a quarter of the rounds brings those about
const first = await cycles.run(rounds / 4);
console.log(`memory grew by ${(first.grownBytes / MIB).toFixed(1)} MiB in the first quarter, which does not count`);
const { before, after, grownBytes } = await cycles.run((rounds * 3) / 4, { warmUp: 0 });
const problems = Object.keys(before).filter((key) => JSON.stringify(before[key]) !== JSON.stringify(after[key]));
for (const key of problems) console.log(`LEAK ${key}: ${difference(before[key], after[key])}`);
const grown = grownBytes / MIB;
console.log(`memory grew by ${grown.toFixed(1)} MiB in ${rounds} rounds, ${MAY_GROW_MIB} are allowed`);
const ok = problems.length === 0 && grown < MAY_GROW_MIB;
console.log(ok ? `${rounds} passed, 0 failed` : `0 passed, ${rounds} failed`);
process.exitCode = ok ? 0 : 1;

function difference(had: string | number | readonly string[] | undefined, has: typeof had): string {
  if (!Array.isArray(had) || !Array.isArray(has)) return `${String(had)} became ${String(has)}`;
  const come = has.filter((name) => !had.includes(name));
  const gone = had.filter((name) => !has.includes(name));
  return `${come.length} came (${come.slice(0, 5).join(", ")}), ${gone.length} went (${gone.slice(0, 5).join(", ")})`;
}
