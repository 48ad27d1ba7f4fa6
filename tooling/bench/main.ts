// Measures figures and prints their table: started by ../bench.mjs, which fetches what is missing.
import { inspect, parseArgs } from "node:util";

import type { Figure, Row } from "./figure.ts";
import { boot } from "./figures/boot.ts";
import { collect } from "./figures/collect.ts";
import { ctrVersion } from "./figures/ctr-version.ts";
import { exec } from "./figures/exec.ts";
import { importImage, importOwn, importTen, importTenOwn } from "./figures/import.ts";
import { ingest } from "./figures/ingest.ts";
import { lists } from "./figures/lists.ts";
import { memory } from "./figures/memory.ts";
import { parallel } from "./figures/parallel.ts";
import { pull, pullOne, pullOwn, pullSlow } from "./figures/pull.ts";
import { restart } from "./figures/restart.ts";
import { rpc } from "./figures/rpc.ts";
import { run } from "./figures/run.ts";
import { exportByGo, exportImage, push, pushByGo } from "./figures/send.ts";
import { stdout } from "./figures/stdout.ts";
import { machineFacts, machineLoad } from "./machine.ts";
import { formatTable } from "./table.ts";

const FIGURES: readonly Figure[] = [
  run,
  importImage,
  importOwn,
  importTen,
  importTenOwn,
  pull,
  pullOwn,
  pullOne,
  pullSlow,
  push,
  pushByGo,
  exportImage,
  exportByGo,
  lists,
  ingest,
  collect,
  rpc,
  boot,
  ctrVersion,
  memory,
  exec,
  parallel,
  stdout,
  restart,
];

const interrupt = new AbortController();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => interrupt.abort(new Error(`interrupted by ${signal}`)));
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}

async function main(args: readonly string[]): Promise<void> {
  const { figures, rounds } = parse(args);
  process.stdout.write(`${await machineFacts()}\n`);
  const rows: Row[] = [];
  for (const figure of figures) {
    if (interrupt.signal.aborted) break;
    rows.push(...(await measure(figure, rounds)));
  }
  if (rows.length > 0) process.stdout.write(`\n${formatTable(rows)}\n\n${await machineLoad()} at the end\n`);
}

/** One figure that fails takes no other with it. */
async function measure(figure: Figure, rounds: number | undefined): Promise<readonly Row[]> {
  const progress = (text: string): void => {
    process.stderr.write(process.stderr.isTTY ? `\r\u001B[K${figure.name}: ${text}` : `${figure.name}: ${text}\n`);
  };
  try {
    const context = { rounds: rounds ?? figure.rounds, signal: interrupt.signal, progress };
    return await figure.measure(context);
  } catch (error) {
    const told = interrupt.signal.aborted ? String(interrupt.signal.reason) : inspect(error);
    progress(`failed: ${told}\n`);
    process.exitCode = 1;
    return [];
  } finally {
    if (process.stderr.isTTY) process.stderr.write("\r\u001B[K");
  }
}

function parse(args: readonly string[]): { readonly figures: readonly Figure[]; readonly rounds: number | undefined } {
  const { values, positionals } = parseArgs({
    args: [...args],
    options: { rounds: { type: "string" } },
    allowPositionals: true,
  });
  const known = FIGURES.map(({ name }) => name).join(", ");
  const unknown = positionals.find((name) => !FIGURES.some((figure) => figure.name === name));
  if (unknown !== undefined) throw new Error(`no figure ${JSON.stringify(unknown)}; there are ${known}`);
  const rounds = values.rounds === undefined ? undefined : Number(values.rounds);
  if (rounds !== undefined && !(Number.isInteger(rounds) && rounds > 0)) {
    throw new Error(`--rounds ${JSON.stringify(values.rounds)} is not a positive whole number`);
  }
  const wanted = positionals.length === 0 ? FIGURES : FIGURES.filter(({ name }) => positionals.includes(name));
  return { figures: wanted, rounds };
}
