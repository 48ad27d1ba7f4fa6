import { readFileSync } from "node:fs";

import { launcher, temporaryDirectory } from "@berth/testing";
import { expect, it } from "vitest";

import { eventually, startHarness } from "./harness.ts";
import { KeptLog } from "./kept-log.ts";

it("a pool is heard as long as it has a container, whichever came last, and over a restart of the daemon", async () => {
  await using sockets = await temporaryDirectory("sockets");
  const log = new KeptLog();
  await using harness = await startHarness({
    defaultShim: launcher("containerd-shim-berth-v2"),
    pooling: true,
    poolSocketDir: sockets.path,
    log: log.logger(),
  });
  const { namespace } = harness;
  const start = async (id: string): Promise<number> => {
    const task = await harness.runtime.create(namespace, id, harness.options(["sleep", "1000"]));
    return await task.start();
  };
  const status = readFileSync(`/proc/${await start("l1")}/status`, "utf8");
  const shimPid = Number(/^PPid:\s*(\d+)/m.exec(status)?.[1]);
  await start("l2");
  const newest = harness.runtime.get(namespace, "l2");
  await newest.kill({ signalNumber: 9 });
  await newest.wait();
  await harness.runtime.delete(namespace, "l2");
  const reports = () => log.lines.filter((line) => line.includes("stack dump"));
  process.kill(shimPid, "SIGUSR1");
  await eventually(() => reports().length === 1);
  // it is about no container
  expect(reports()[0]).not.toContain('"id"');
  await harness.restart();
  process.kill(shimPid, "SIGUSR1");
  await eventually(() => reports().length === 2);
});
