import { join } from "node:path";

import { debianTool, seededRandom, temporaryDirectory } from "@berth/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { type Harness, ownShim, shimsOf, startHarness } from "./harness.ts";
import { TaskHistory } from "./task-history.ts";

/** More of them: BERTH_HISTORIES=1000; another course of them: BERTH_HISTORY_SEED. */
const HISTORIES = Number(process.env["BERTH_HISTORIES"] ?? 3);
const SEED = Number(process.env["BERTH_HISTORY_SEED"] ?? 37);
const STEPS = 25;

describe.each([
  ["Debian's shim", false],
  ["berth's shim", true],
])("random histories of %s", { timeout: 120_000 }, (_, isOwn) => {
  const stack = new AsyncDisposableStack();
  let harness: Harness;

  beforeAll(async () => {
    const { path } = stack.use(await temporaryDirectory("histories"));
    const defaultShim = isOwn ? await ownShim(path) : debianTool("containerd-shim-runc-v2");
    harness = stack.use(await startHarness({ defaultShim, pooling: isOwn, poolSocketDir: join(path, "s") }));
  });
  afterAll(async () => {
    const { directory } = harness;
    await stack.disposeAsync();
    for (const pid of shimsOf(directory)) process.kill(pid, "SIGKILL");
  });

  it.each(Array.from({ length: HISTORIES }, (__, index) => SEED + index))("seed %d", async (seed) => {
    const history = new TaskHistory(harness, seededRandom(seed), { id: `h${seed}`, isOwn });
    const failure = await history.run(STEPS).then(
      () => undefined,
      (error: unknown) => error,
    );
    expect({ failure, history: failure === undefined ? [] : history.done }).toEqual({
      failure: undefined,
      history: [],
    });
  });
});
