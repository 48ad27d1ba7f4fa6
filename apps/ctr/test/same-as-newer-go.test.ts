import { join } from "node:path";

import { newerTool, runProgram } from "@berth/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import type { Bench } from "./peers.ts";
import { BUSYBOX_IMAGE, startBench } from "./peers.ts";

const LIMIT = { timeoutMs: 60_000 };

/** What this program and Go's ctr 2.1 must print alike, with the exit code. `%` is a directory, `IMAGE` the image's name. */
const SAME: readonly string[] = [
  "info",
  "plugins inspect-runtime",
  "plugins inspect-runtime --runc-root /x",
  "deprecations list",
  "images ls",
  "images inspect IMAGE",
  "images usage IMAGE",
  "images export %/none.tar nothing",
  "content rm sha256:0000000000000000000000000000000000000000000000000000000000000000",
  "containers info sleeper",
  "containers info --spec sleeper",
  "sandboxes ls",
  "snapshots usage -b sleeper",
  "tasks exec --exec-id one sleeper sh -c true;exit$IFS3",
  "tasks exec --exec-id two --cwd /etc sleeper pwd",
  "tasks metrics nothing",
  "run --rm --annotation x IMAGE bad true",
  "run --rm --privileged-without-host-devices IMAGE bad true",
  "run --rm --seccomp IMAGE seccomp echo runs",
  "run --rm --privileged IMAGE privileged id -u",
  "run --rm --runtime io.containerd.nothing.v1 IMAGE bad true",
  "run --rm --sandbox nothing IMAGE bad true",
  "run --rm IMAGE bad/id true",
  "shim --id sleeper state",
  "-n fresh tasks ls",
];

/** Both tell times, this one to the millisecond. */
function comparable(text: string): string {
  return text.replaceAll(/\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.\d]*( \+0000 UTC|Z)/g, "<time>");
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

describe("beside Go's ctr 2.1 on containerd 2.1", () => {
  let bench: Bench;
  beforeAll(async () => {
    bench = await startBench("containerd", { release: "2" });
    await bench.say("run", "-d", "--null-io", BUSYBOX_IMAGE, "sleeper", "sleep", "1000");
  });
  afterAll(async () => {
    await bench.ctr(["tasks", "rm", "-f", "sleeper"], LIMIT);
    await bench.ctr(["containers", "rm", "sleeper"], LIMIT);
    await bench[Symbol.asyncDispose]();
  });

  it.each(SAME)("ctr %s", { timeout: 120_000 }, async (line) => {
    const args = line.split(" ").map((word) => word.replace("IMAGE", BUSYBOX_IMAGE).replace("%", bench.directory.path));
    const go = await runProgram(newerTool("ctr"), ["--address", bench.daemon.address, ...args], LIMIT);
    const own = await bench.ctr(args, LIMIT);
    const [theirs, ours] = [go, own].map(({ code, stdout }) => ({ code, stdout: parsed(comparable(stdout)) }));
    expect(ours).toEqual(theirs);
  });

  it("has images exported whole, though the daemon does not say where they end", { timeout: 120_000 }, async () => {
    const path = join(bench.directory.path, "whole.tar");
    await bench.say("images", "export", path, BUSYBOX_IMAGE);
    await bench.say("-n", "other", "images", "import", "--local", path);
    expect(await bench.say("-n", "other", "images", "ls", "-q")).toContain(BUSYBOX_IMAGE);
  });
});
