import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";

import { temporaryDirectory } from "@berth/testing";
import { expect, it } from "vitest";

import type { DeadContainer } from "./define-shim.ts";
import { deleteManyAction } from "./delete-action.ts";
import { parseShimEnvironment } from "./environment.ts";
import { parseShimFlags } from "./flags.ts";

const IDS = Array.from({ length: 12 }, (_, index) => `c${index}`);

/** How many clean-ups were under way at once before they ask, and between there and their end. */
async function countAtOnce(asks: boolean) {
  await using directory = await temporaryDirectory("delete");
  for (const id of IDS) mkdirSync(join(directory.path, id));
  const [most, now] = [
    { killing: 0, removing: 0 },
    { killing: 0, removing: 0 },
  ];
  const work = async (what: "killing" | "removing"): Promise<void> => {
    most[what] = Math.max(most[what], ++now[what]);
    for (let turns = 0; turns < 20; turns++) await turn();
    now[what] -= 1;
  };
  const cleanUp = async ({ id, beforeRemoval }: DeadContainer) => {
    // the first one asks at once: those that wait for nothing else begin while the others still kill
    if (id !== "c0" || !asks) await work("killing");
    if (asks) await beforeRemoval?.();
    await work("removing");
    return { pid: 1, exitStatus: 137, exitedAt: new Date() };
  };
  const flags = parseShimFlags(["-namespace", "n", "-id", "c0", "-bundle", join(directory.path, "c0"), "delete"]);
  const lines: string[] = [];
  // the action leaves the bundle that it was started in
  using place = new DisposableStack();
  place.adopt(process.cwd(), (before) => process.chdir(before));
  const input = {
    definition: { runtime: "x", cleanUp, createTasks: () => Promise.reject(new Error("not asked for")) },
    flags: { ...flags, more: IDS.slice(1) },
    environment: parseShimEnvironment({}),
  };
  await deleteManyAction(input, (line) => lines.push(line));
  expect(lines.filter((line) => line.includes(" removed ")).length).toBe(IDS.length);
  return most;
}

it("deleteManyAction kills all at once and removes four at a time where the clean-up asks, else cleans up four at a time", async () => {
  expect(await countAtOnce(true)).toEqual({ killing: IDS.length - 1, removing: 4 });
  expect(await countAtOnce(false)).toEqual({ killing: 4, removing: 4 });
});
