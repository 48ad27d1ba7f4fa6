import { readdirSync, readFileSync } from "node:fs";
import { getHeapStatistics } from "node:v8";

import type { Frame } from "./profile-builder.ts";
import { ProfileBuilder } from "./profile-builder.ts";

/** How many there are of something, by name, most first. */
export type Counts = readonly (readonly [name: string, count: number])[];

/** This counts what the process waits for, by kind: the nearest that Node has to goroutines. */
export function countResources(): Counts {
  return count(process.getActiveResourcesInfo());
}

/** This counts the threads of the process, by their names. */
export function countThreads(): Counts {
  return count(
    readdirSync("/proc/self/task").map((id) => {
      try {
        return readFileSync(`/proc/self/task/${id}/comm`, "utf8").trim();
      } catch {
        return "(gone)";
      }
    }),
  );
}

/** This writes counts as a profile. */
export function countsToPprof(type: string, counts: Counts): Uint8Array {
  const builder = new ProfileBuilder([[type, "count"]], [[type, "count"], 1]);
  for (const [name, number] of counts) builder.add([place(name)], [number]);
  return builder.finish();
}

/** This writes counts for people. */
export function formatCounts(type: string, counts: Counts): string {
  const total = counts.reduce((sum, [, number]) => sum + number, 0);
  return [`${type} profile: total ${total}`, ...counts.map(([name, number]) => `${number} @ ${name}`), ""].join("\n");
}

/** This describes every handle that the process has open, one on a line. */
export function formatHandles(): string {
  process.report.excludeEnv = true;
  // Older types do not know it: without, Node looks the names of all peers up, and waits for them.
  Object.assign(process.report, { excludeNetwork: true });
  // The report is documented, but its type is `object`.
  const { libuv = [] } = process.report.getReport() as { readonly libuv?: readonly object[] };
  return `${libuv.map((handle) => JSON.stringify(handle)).join("\n")}\n`;
}

/** Time since a beginning during which nothing else could be done, and all time. */
export interface LoopTime {
  readonly busyMs: number;
  readonly totalMs: number;
}

/** This writes how long the process kept others waiting. */
export function loopTimeToPprof({ busyMs }: LoopTime): Uint8Array {
  const builder = new ProfileBuilder([["delay", "nanoseconds"]], [["delay", "nanoseconds"], 1]);
  builder.add([place("event loop")], [busyMs * 1e6]);
  return builder.finish();
}

/** This returns what `expvar` shows of a process in Go, under its names as far as they have a meaning here. */
export function processVariables(): object {
  const { rss, heapTotal, heapUsed, external } = process.memoryUsage();
  const { total_heap_size_executable: executable, number_of_native_contexts: contexts } = getHeapStatistics();
  return {
    cmdline: process.argv,
    memstats: {
      Sys: rss,
      HeapSys: heapTotal,
      HeapAlloc: heapUsed,
      HeapInuse: heapUsed,
      OtherSys: external,
      executable,
      contexts,
    },
    resourceUsage: process.resourceUsage(),
  };
}

function count(names: readonly string[]): Counts {
  const groups = Map.groupBy(names, (name) => name);
  return [...groups].map(([name, all]) => [name, all.length] as const).toSorted((a, b) => b[1] - a[1]);
}

function place(name: string): Frame {
  return { name, file: "", line: 0 };
}
