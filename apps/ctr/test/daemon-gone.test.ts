import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { text } from "node:stream/consumers";

import { expect, it } from "vitest";

import { BUSYBOX_IMAGE, startBench } from "./peers.ts";

const SCRIPT = "trap 'exit 7' USR1; while :; do echo here; sleep 0.1; done";

it("run ends when its daemon does, and the container can be attached to under the next one", async () => {
  await using bench = await startBench("berthd");
  const [fifos, id] = [join(bench.directory.path, "fifo"), `orphan-${process.pid}`];
  await using children = new AsyncDisposableStack();
  const begin = async (...line: readonly string[]) => {
    const [program, ...args] = bench.command(line);
    // Its standard input stays open.
    const child = spawn(program, args, { stdio: "pipe" });
    children.defer(() => void child.kill("SIGKILL"));
    const [said, ended] = [text(child.stderr), once(child, "exit")];
    const early = ended.then(async ([code]): Promise<never> => {
      throw new Error(`ended with ${code} before it wrote: ${await said}`);
    });
    const [first] = await Promise.race([once(child.stdout, "data"), early]);
    early.catch(() => {});
    child.stdout.resume();
    expect(String(first)).toMatch(/^here\n/);
    return async () => ({ code: (await ended)[0], stderr: await said });
  };

  const run = await begin("run", "--fifo-dir", fifos, BUSYBOX_IMAGE, id, "sh", "-c", SCRIPT);
  // The container runs on, and so do its pipes.
  const whileDown = async (): Promise<void> =>
    expect(await run()).toEqual({ code: 1, stderr: expect.stringMatching(/^ctr: [^\n]+\n$/) });
  await bench.daemon.restart({ signal: "SIGKILL", whileDown });

  const attach = await begin("tasks", "attach", id);
  await bench.say("tasks", "kill", "-s", "USR1", id);
  expect(await attach()).toEqual({ code: 7, stderr: "" });
  await bench.say("containers", "rm", id);
  expect(await readdir(fifos)).toEqual([]);
}, 90_000);
