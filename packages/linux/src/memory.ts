import { readdirSync } from "node:fs";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

import { bind } from "./libc.ts";
import { type MemorySample, RestWatch } from "./memory/rest-watch.ts";

const native = {
  mallocTrim: bind<[number], number>("malloc_trim", "int", ["size_t"]),
  mallopt: bind<[number, number], number>("mallopt", "int", ["int", "int"]),
};

const M_ARENA_MAX = -8;

/** Rare enough not to be work itself. */
const CHECK_MS = 1000;

/** A heap that is in use is left to V8: to collect it stops everything for longer than a caller should wait. */
const LARGEST_HEAP = 96 << 20;

/**
 * This gives memory that nothing uses back to the kernel, when the process has rested for twelve seconds after work, or has been at work for more
 * than a minute with pauses of a second only; until it is disposed. Neither V8 nor malloc does that by itself in a process that does
 * nothing: garbage stays until something is allocated.
 *
 * It costs some ten milliseconds once for each such pause, and at most a fiftieth of the time; the work after it is optimized anew.
 */
export function returnMemoryAtRest(): Disposable {
  const watch = new RestWatch();
  const timer = setInterval(() => {
    try {
      if (!watch.sample(sample())) return;
      returnMemory();
      watch.returned(sample());
    } catch {
      // Nothing can be read when the process has no descriptor left. Thrown here, that would end it; memory can wait.
    }
  }, CHECK_MS).unref();
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

/**
 * This has malloc make no further arenas than so many; threads share them. By itself it makes one for almost each thread, and what was freed in one is of no use to the others.
 *
 * To be called before the process has many threads: arenas that are there stay, six of a Node that has just started. `MALLOC_ARENA_MAX` in the environment wins.
 */
export function limitArenas(count: number): void {
  native.mallopt(M_ARENA_MAX, count);
}

function sample(): MemorySample {
  const { user, system } = process.cpuUsage();
  const threads = readdirSync("/proc/self/task").length;
  return { at: performance.now(), cpuMs: (user + system) / 1000, rss: process.memoryUsage.rss(), threads };
}

function returnMemory(): void {
  if (process.memoryUsage().heapUsed <= LARGEST_HEAP) collectGarbage();
  native.mallocTrim(0);
}

/** V8 shrinks its heap fully only when told that memory is short. What functions were compiled to is kept: the next call wants it. */
function collectGarbage(): void {
  setFlagsFromString("--no-flush-bytecode");
  setFlagsFromString("--expose-gc");
  try {
    // The function is there in contexts made from now on. It is not kept, for it keeps its context.
    runInNewContext('gc({ type: "major", flavor: "last-resort" })');
  } finally {
    setFlagsFromString("--no-expose-gc");
    setFlagsFromString("--flush-bytecode");
  }
}
