import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";

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

it("an interrupt while a checkpoint is fetched ends what was begun", { timeout: 120_000 }, async () => {
  await using bench = await startBench("berthd");
  const asked = Promise.withResolvers<void>();
  // A registry that never answers.
  await using registry = createServer(
    (socket) => void socket.on("error", () => {}).once("data", () => asked.resolve()),
  );
  registry.listen(0, "127.0.0.1");
  await once(registry, "listening");
  // A server that listens on a port has one.
  const { port } = registry.address() as { readonly port: number };
  const saved = `127.0.0.1:${port}/saved:1`;
  const [program, ...args] = bench.command(["containers", "restore", "--plain-http", "again", saved]);
  const child = spawn(program, args, { stdio: "ignore" });
  const ended = once(child, "close");
  await asked.promise;
  child.kill("SIGINT");
  expect((await ended)[0]).toBe(1);
  expect(await bench.say("leases", "ls", "-q")).toBe("");
});
