import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createReadStream, write } from "node:fs";

import { openPty, resizePty } from "@berth/linux/terminal";
import { afterAll, beforeAll, expect, it } from "vitest";

import type { Bench } from "./peers.ts";
import { BUSYBOX_IMAGE, startBench } from "./peers.ts";

let bench: Bench;

beforeAll(async () => {
  bench = await startBench("berthd");
});

afterAll(async () => {
  await bench[Symbol.asyncDispose]();
});

it("run -t gives the process a terminal of our size, passes on keys and restores ours", async () => {
  using pty = openPty();
  resizePty(pty.master, { width: 101, height: 33 });
  const settings = (): string =>
    execFileSync("stty", ["-a"], { stdio: [pty.slave, "pipe", "inherit"], encoding: "utf8" }).replace(/rows.*/, "");
  const before = settings();
  const fifos = join(bench.directory.path, "fifo");
  const line = ["run", "--rm", "-t", "--fifo-dir", fifos, BUSYBOX_IMAGE, `terminal-${process.pid}`];
  const script =
    'echo "size $(stty size)"; trap "echo caught; stty size; exit 6" INT; tty; while :; do sleep 0.05; done';
  const [program, ...args] = bench.command([...line, "sh", "-c", script]);
  const child = spawn(program, args, { stdio: [pty.slave, pty.slave, pty.slave] });
  let screen = "";
  const reader = createReadStream("", { fd: pty.master, autoClose: false });
  reader.on("error", () => {});
  reader.on("data", (chunk) => {
    const seen = screen;
    screen += chunk.toString();
    if (!screen.includes("/dev/pts/") || seen.includes("/dev/pts/")) return;
    resizePty(pty.master, { width: 120, height: 44 });
    child.kill("SIGWINCH");
    setTimeout(() => write(pty.master, "\u0003", () => {}), 300);
  });
  expect(await once(child, "close")).toEqual([6, null]);
  expect(screen.replaceAll("\r", "")).toMatch(/size 33 101\n\/dev\/pts\/0\n(\^C)?caught\n44 120\n/);
  expect(settings()).toBe(before);
  reader.destroy();
});
