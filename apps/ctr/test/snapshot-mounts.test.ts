import { readFile } from "node:fs/promises";

import { expect, it } from "vitest";

import { BUSYBOX_IMAGE, startBench } from "./peers.ts";

it("snapshots mounts --temp has the daemon mount a snapshot until it goes", { timeout: 120_000 }, async () => {
  await using bench = await startBench("berthd");
  await bench.say("containers", "create", BUSYBOX_IMAGE, "mounted");
  expect(await bench.say("snapshots", "mounts", "/t", "mounted")).toMatch(/^mount -t (overlay|bind) /);
  const printed = await bench.say("snapshots", "mounts", "--temp", "/t", "mounted");
  const [, place = ""] = /^mount -t bind (\S+) \/t -o \S*bind\S*\n$/.exec(printed) ?? [];
  expect(place).toContain(bench.daemon.state);
  const isMounted = async (): Promise<boolean> => (await readFile("/proc/self/mounts", "utf8")).includes(place);
  expect(await isMounted()).toBe(true);
  await bench.say("containers", "rm", "mounted");
  await expect.poll(isMounted, { timeout: 20_000 }).toBe(false);
});
