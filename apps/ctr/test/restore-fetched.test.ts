import { startRegistry } from "@berth/testing";
import { expect, it } from "vitest";

import { BUSYBOX_IMAGE, startBench } from "./peers.ts";

const LIMIT = { timeoutMs: 60_000 };

it("a checkpoint that is not here is fetched, and restored", { timeout: 120_000 }, async () => {
  await using registry = await startRegistry();
  await using bench = await startBench("berthd");
  const saved = `${registry.host}/saved:1`;
  await bench.say("run", "-d", "--null-io", BUSYBOX_IMAGE, "origin", "sh", "-c", "echo kept > /made; exec sleep 1000");
  await bench.say("containers", "checkpoint", "--rw", "--image", "origin", saved);
  await bench.say("images", "push", "--local", saved);
  expect(await bench.ctr(["tasks", "rm", "-f", "origin"], LIMIT)).toMatchObject({ code: 0 });
  await bench.say("containers", "rm", "origin");
  await bench.say("images", "rm", "--sync", saved, BUSYBOX_IMAGE);
  const restored = await bench.say("containers", "restore", "--rw", "again", saved);
  expect(restored).toContain(`${saved} resolved: sha256:`);
  expect(await bench.say("tasks", "exec", "--exec-id", "look", "again", "cat", "/made")).toBe("kept\n");
  expect(await bench.ctr(["tasks", "rm", "-f", "again"], LIMIT)).toMatchObject({ code: 0 });
  await bench.say("containers", "rm", "again");
  expect(await bench.fail("containers", "restore", "again", `${registry.host}/none:1`)).toContain("none");
  expect(await bench.fail("containers", "restore", "again", "none")).toContain("not found");
});
