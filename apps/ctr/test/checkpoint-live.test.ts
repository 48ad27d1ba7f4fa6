import { mkdir, readdir, rm } from "node:fs/promises";
import { dirname, join } from "node:path";

import type { DaemonOptions } from "@berth/testing";
import { criuPrograms, debianTool, launcher, newerTool, temporaryDirectory } from "@berth/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import type { Bench } from "./peers.ts";
import { BUSYBOX_IMAGE, startBench } from "./peers.ts";

const TIMEOUT = { timeout: 60_000 };
const LIMIT = { timeoutMs: 45_000 };
const BERTH = "io.containerd.berth.v2";
const SHIMS = [dirname(launcher("containerd-shim-berth-v2"))];
const COUNT = "i=0; while :; do i=$((i+1)); echo $i > /next; mv /next /count; sleep 0.1; done";
const PATIENTLY = { timeout: 15_000 };

type Way = "ctr" | "go" | "directory";

/** CRIU's own work is the same everywhere: each of these is how daemon, shim, runc and client find together over it. */
describe.each<readonly [string, "berthd" | "containerd", DaemonOptions, string, readonly Way[]]>([
  ["berth's shim under berthd", "berthd", {}, "io.containerd.runc.v2", ["ctr", "directory", "go"]],
  ["Go's shim 1.6 under berthd", "berthd", {}, debianTool("containerd-shim-runc-v2"), ["ctr"]],
  ["Go's shim 2 under berthd", "berthd", { release: "2" }, newerTool("containerd-shim-runc-v2"), ["ctr"]],
  ["berth's shim under containerd 1.6", "containerd", { path: SHIMS }, BERTH, ["go"]],
  ["berth's shim under containerd 2", "containerd", { release: "2", path: SHIMS }, BERTH, ["go"]],
])("a counter goes on after its checkpoint: %s", (_, kind, options, runtime, ways) => {
  const stack = new AsyncDisposableStack();
  let bench: Bench;

  beforeAll(async () => {
    const { path } = stack.use(await temporaryDirectory("criu"));
    criuPrograms(path);
    bench = stack.use(await startBench(kind, { ...options, path: [path, ...(options.path ?? [])] }));
  }, 60_000);
  afterAll(() => stack.disposeAsync());

  const say = (...args: readonly string[]): Promise<string> => bench.say(...args);
  const go = async (...args: readonly string[]): Promise<void> => {
    const { code, stderr } = await bench.daemon.ctr(args, LIMIT);
    expect({ args, code, stderr }).toMatchObject({ args, code: 0 });
  };
  let execs = 0;
  const countOf = async (id: string): Promise<number> =>
    Number(await say("t", "exec", "--exec-id", `e${execs++}`, id, "cat", "/count"));
  const run = (id: string): Promise<string> =>
    say("run", "-d", "--null-io", "--runtime", runtime, BUSYBOX_IMAGE, id, "sh", "-c", COUNT);
  const remove = async (id: string): Promise<void> => {
    await bench.ctr(["tasks", "rm", "-f", id], LIMIT);
    await say("containers", "rm", id);
  };

  if (ways.includes("ctr"))
    it("by this ctr, while the original runs on", TIMEOUT, async () => {
      await run("one");
      await expect.poll(() => countOf("one"), PATIENTLY).toBeGreaterThan(3);
      await say("containers", "checkpoint", "--task", "--image", "--rw", "one", "example.org/one:1");
      const written = await countOf("one");
      await expect.poll(() => countOf("one"), PATIENTLY).toBeGreaterThan(written);
      await say("containers", "restore", "--trust", "--rw", "--live", "two", "example.org/one:1");
      await expect.poll(() => countOf("two"), PATIENTLY).toBeGreaterThan(3);
      expect(await countOf("two")).toBeLessThan(await countOf("one"));
      for (const id of ["one", "two"]) await remove(id);
    });

  if (ways.includes("directory"))
    it("into a directory, with its end", TIMEOUT, async () => {
      const directory = join(bench.directory.path, "images");
      const work = join(bench.directory.path, "work");
      for (const path of [directory, work]) await mkdir(path);
      await run("last");
      await say("tasks", "checkpoint", "--exit", "--image-path", directory, "--work-path", work, "last");
      await expect.poll(() => say("tasks", "ls"), PATIENTLY).toMatch(/^last +\d+ +STOPPED/m);
      expect(await readdir(directory)).toContain("inventory.img");
      expect(await readdir(work)).toContain("dump.log");
      await remove("last");
      await rm(directory, { recursive: true });
    });

  if (ways.includes("go"))
    it("by Go's ctr", TIMEOUT, async () => {
      await run("three");
      await expect.poll(() => countOf("three"), PATIENTLY).toBeGreaterThan(3);
      await go("containers", "checkpoint", "--task", "--image", "--rw", "three", "example.org/three:1");
      const written = await countOf("three");
      // it restores into the cgroup of the original
      await remove("three");
      await go("containers", "restore", "--rw", "--live", "four", "example.org/three:1");
      await expect.poll(() => countOf("four"), PATIENTLY).toBeGreaterThan(written);
      await remove("four");
    });
});
