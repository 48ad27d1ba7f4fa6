// A thousand containers and execs against one daemon: npm run test:faults -- --only tasks --rounds <n> --seed <s>.
import { parseArgs } from "node:util";

import { leaksBetween } from "./daemon-holdings.ts";
import { TaskCycles } from "./task-cycles.ts";

const MIB = 1024 * 1024;
const MAY_GROW_MIB = 16;

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "1000" },
    seed: { type: "string", default: String(Date.now() % 1_000_000_000) },
    only: { type: "string" },
  },
});
const rounds = Number(values.rounds);
console.log(`seed ${values.seed}`);
await using cycles = await TaskCycles.open(Number(values.seed));
// heaps grow until the first collections of everything; a quarter of the rounds brings those about
const first = await cycles.run(rounds / 4);
console.log(
  `anonymous memory grew by ${(first.grownBytes / MIB).toFixed(1)} MiB in the first quarter, which does not count`,
);
const { before, after, grownBytes } = await cycles.run((rounds * 3) / 4, { warmUp: 0 });
const leaks = Object.entries(leaksBetween(before, after));
for (const [kind, what] of leaks) console.log(`LEAK ${kind}: ${String(what)}`);
const grown = grownBytes / MIB;
console.log(
  `anonymous memory of daemon and shims grew by ${grown.toFixed(1)} MiB in ${rounds} rounds, ${MAY_GROW_MIB} are allowed`,
);
const ok = leaks.length === 0 && grown < MAY_GROW_MIB;
console.log(ok ? `${rounds} passed, 0 failed` : `0 passed, ${rounds} failed`);
process.exitCode = ok ? 0 : 1;
