import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import type { PeerDaemon } from "@berth/testing";
import { BUSYBOX_IMAGE, busyboxImage, launcher, runProgram, startBerthd, temporaryDirectory } from "@berth/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const INTERVAL_MS = 300;

/** Containers of Go's ctr with the labels that nerdctl gives them. */
describe("restart monitor", { timeout: 60_000 }, () => {
  const stack = new AsyncDisposableStack();
  let daemon: PeerDaemon;
  let directory: string;

  beforeAll(async () => {
    directory = stack.use(await temporaryDirectory("restart")).path;
    // The name that the table had until containerd 2.
    const config = `[plugins."io.containerd.internal.v1.restart"]\ninterval = "${INTERVAL_MS}ms"\n`;
    daemon = stack.use(await startBerthd({ config }));
    await daemon.ctr(["image", "import", "-"], { input: (await busyboxImage()).archive });
  });
  afterAll(() => stack.disposeAsync());

  const run = async (id: string, labels: Readonly<Record<string, string>>, ...command: string[]): Promise<void> => {
    const flags = Object.entries(labels).flatMap(([key, value]) => [
      "--label",
      `containerd.io/restart.${key}=${value}`,
    ]);
    const { stderr, code } = await daemon.ctr(["run", "-d", ...flags, BUSYBOX_IMAGE, id, ...command]);
    expect({ stderr, code }).toEqual({ stderr: "", code: 0 });
  };
  const label = (id: string, key: string, value: string) =>
    daemon.ctr(["container", "label", id, `containerd.io/restart.${key}=${value}`]);
  const count = async (id: string): Promise<string | undefined> => {
    const { stdout } = await daemon.ctr(["container", "info", id]);
    return JSON.parse(stdout).Labels["containerd.io/restart.count"];
  };
  const task = async (id: string): Promise<{ pid: string; status: string } | undefined> => {
    const { stdout } = await daemon.ctr(["task", "ls"]);
    const [, pid = "", status = ""] =
      stdout
        .split("\n")
        .find((line) => line.startsWith(`${id} `))
        ?.trim()
        .split(/\s+/) ?? [];
    return status === "" ? undefined : { pid, status };
  };
  const remove = async (id: string): Promise<void> => {
    await label(id, "status", "");
    await daemon.ctr(["task", "rm", "-f", id]);
    await daemon.ctr(["container", "rm", id]);
  };
  /** Time in which the monitor would have looked several times. */
  const someLooks = () => sleep(INTERVAL_MS * 5);

  it("shows its capabilities", async () => {
    const { stdout } = await runProgram(launcher("ctr"), ["-a", daemon.address, "plugins", "ls", "-d", "id==restart"]);
    expect(stdout).toMatch(/Type:\s+io\.containerd\.monitor\.container\.v1/);
    expect(stdout).toMatch(/Capabilities:\s+no,always,on-failure,unless-stopped/);
  });

  it("always: a container that was killed runs again, counted, with its output where the label says", async () => {
    const log = join(directory, "always.log");
    const labels = { status: "running", policy: "always", loguri: `file://${log}` };
    await run("always", labels, "sh", "-c", "echo started; exec sleep 1000");
    const first = await task("always");
    expect(first?.status).toBe("RUNNING");
    await daemon.ctr(["task", "kill", "-s", "SIGKILL", "always"]);
    await expect
      .poll(() => task("always"), { timeout: 20_000 })
      .toMatchObject({ status: "RUNNING", pid: expect.not.stringMatching(`^${first?.pid}$`) });
    expect(await count("always")).toBe("1");
    // The first task had no log: this is the output of the second.
    await expect.poll(() => readFile(log, "utf8").catch(() => ""), { timeout: 10_000 }).toBe("started\n");
    await remove("always");
  });

  it("always: a paused container stays paused", async () => {
    await run("paused", { status: "running", policy: "always" }, "sleep", "1000");
    const before = await task("paused");
    await daemon.ctr(["task", "pause", "paused"]);
    await someLooks();
    expect(await task("paused")).toEqual({ pid: before?.pid, status: "PAUSED" });
    await daemon.ctr(["task", "resume", "paused"]);
    await remove("paused");
  });

  it("on-failure:2: runs twice more, and stays as it ended", async () => {
    await run("failing", { status: "running", policy: "on-failure:2" }, "sh", "-c", "exit 3");
    await expect.poll(() => count("failing"), { timeout: 20_000 }).toBe("2");
    await expect.poll(() => task("failing"), { timeout: 20_000 }).toMatchObject({ status: "STOPPED" });
    const last = await task("failing");
    await someLooks();
    expect(await task("failing")).toEqual(last);
    expect(await count("failing")).toBe("2");
    await remove("failing");
  });

  it("on-failure: success is the end", async () => {
    await run("good", { status: "running", policy: "on-failure" }, "true");
    await someLooks();
    expect((await task("good"))?.status).toBe("STOPPED");
    expect(await count("good")).toBeUndefined();
    await remove("good");
  });

  it("unless-stopped: only one that nobody stopped runs again", async () => {
    await run("kept", { status: "running", policy: "unless-stopped", "explicitly-stopped": "true" }, "true");
    await someLooks();
    expect(await count("kept")).toBeUndefined();
    await label("kept", "explicitly-stopped", "false");
    await expect.poll(() => count("kept"), { timeout: 20_000 }).toBeDefined();
    await remove("kept");
  });

  it("stopped: a running container is ended; without the label, and with policy no, nothing happens", async () => {
    await run("ended", { status: "stopped" }, "sleep", "1000");
    await expect.poll(() => task("ended"), { timeout: 20_000 }).toBeUndefined();
    await run("plain", { policy: "always" }, "true");
    await run("never", { status: "running", policy: "no" }, "true");
    await someLooks();
    expect((await task("plain"))?.status).toBe("STOPPED");
    expect((await task("never"))?.status).toBe("STOPPED");
    for (const id of ["ended", "plain", "never"]) await remove(id);
  });

  it("runs what should run again after the daemon was killed together with the container", async () => {
    await run("reboot", { status: "running", policy: "always" }, "sleep", "1000");
    const { pid } = (await task("reboot")) ?? { pid: "" };
    await daemon.restart({
      signal: "SIGKILL",
      whileDown: async () => {
        const status = await readFile(`/proc/${pid}/status`, "utf8");
        const shim = Number(/^PPid:\s*(\d+)/m.exec(status)?.[1]);
        process.kill(shim, "SIGKILL");
      },
    });
    await expect
      .poll(() => task("reboot"), { timeout: 20_000 })
      .toMatchObject({ status: "RUNNING", pid: expect.not.stringMatching(`^${pid}$`) });
    await remove("reboot");
  });
});
