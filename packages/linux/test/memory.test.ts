import { execFile } from "node:child_process";
import { promisify } from "node:util";

import { expect, it } from "vitest";

const ENTRY = JSON.stringify(new URL("../src/memory.ts", import.meta.url).href);

/** Garbage of all kinds is made, and then nothing happens. What V8 was told for a return must not stay. */
const PROGRAM = `
import { setTimeout as sleep } from "node:timers/promises";
import { returnMemoryAtRest } from ${ENTRY};
using _returning = returnMemoryAtRest();
function makeGarbage() {
  const objects = [];
  for (let index = 0; index < 600_000; index += 1) objects.push({ index, name: "n" + index });
  const buffers = Array.from({ length: 1500 }, () => new Uint8Array(20_000).fill(1));
  return objects.length + buffers.length;
}
makeGarbage();
const high = process.memoryUsage.rss();
let low = high;
for (let waited = 0; waited < 300 && high - low < 48 << 20; waited += 1) {
  await sleep(100);
  low = Math.min(low, process.memoryUsage.rss());
}
console.log(JSON.stringify({ returnedMib: (high - low) / 2 ** 20, gc: typeof globalThis.gc }));
`;

it("returnMemoryAtRest gives back what nothing uses, and does not keep the process alive", async () => {
  const args = ["--conditions=@berth/source", "--input-type=module", "-e", PROGRAM];
  const { stdout } = await promisify(execFile)(process.execPath, args);
  const { returnedMib, gc } = JSON.parse(stdout) as { returnedMib: number; gc: string }; // printed above
  expect(returnedMib).toBeGreaterThan(48);
  expect(gc).toBe("undefined");
}, 60_000);

/** No descriptor is left for longer than the watch sleeps, and then there are some again. */
const EXHAUSTED = `
import { closeSync, openSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { returnMemoryAtRest } from ${ENTRY};
using _returning = returnMemoryAtRest();
await sleep(10);
const taken = [];
let code;
try {
  for (;;) taken.push(openSync("/dev/null"));
} catch (error) {
  code = error.code;
}
await sleep(2500);
for (const descriptor of taken) closeSync(descriptor);
console.log(code);
`;

it("returnMemoryAtRest lets a process live that has no descriptor left", async () => {
  const args = ["--nofile=64:64", process.execPath, "--conditions=@berth/source", "--input-type=module"];
  const { stdout } = await promisify(execFile)("prlimit", [...args, "-e", EXHAUSTED]);
  expect(stdout.trim()).toBe("EMFILE");
}, 60_000);

/** Each thread of the pool allocates while the others do. An arena is a mapping that begins at a multiple of 64 MiB. */
const ARENAS = `
import { pbkdf2 } from "node:crypto";
import { readFileSync } from "node:fs";
import { promisify } from "node:util";
import { limitArenas } from ${ENTRY};
if (process.argv[1] === "limit") limitArenas(2);
await Promise.all(Array.from({ length: 64 }, () => promisify(pbkdf2)("a", "b", 20_000, 32, "sha256")));
const starts = readFileSync("/proc/self/maps", "utf8").matchAll(/^([0-9a-f]+)-[0-9a-f]+ rw-p 00000000 00:00 0 *$/gm);
console.log([...starts].filter(([, start]) => BigInt("0x" + start) % (64n << 20n) === 0n).length);
`;

it("limitArenas has threads share what malloc keeps", async () => {
  const arenas = async (...args: readonly string[]): Promise<number> => {
    const program = ["--conditions=@berth/source", "--input-type=module", "-e", ARENAS, ...args];
    const env = { ...process.env, UV_THREADPOOL_SIZE: "12", MALLOC_ARENA_MAX: undefined };
    return Number((await promisify(execFile)(process.execPath, program, { env })).stdout);
  };
  expect(await arenas("limit")).toBeLessThan((await arenas()) - 3);
}, 60_000);
