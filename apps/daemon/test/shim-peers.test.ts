import { dirname } from "node:path";

import { Tasks } from "@berth/api/containerd/services/tasks/v1/tasks";
import { createUnixTransport } from "@berth/client/transport";
import type { PeerDaemon } from "@berth/testing";
import {
  BUSYBOX_IMAGE,
  busyboxImage,
  crunProgram,
  debianTool,
  launcher,
  newerTool,
  runProgram,
  startBerthd,
  startContainerd,
  temporaryDirectory,
} from "@berth/testing";
import { createClient } from "@connectrpc/connect";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const SHIM_DIRECTORY = dirname(launcher("containerd-shim-berth-v2"));

/** Daemon and shim of different makes, held together only by containerd's shim protocol. */
describe.each([
  ["Debian's Go shim 1.6 under berthd", () => startBerthd(), debianTool("containerd-shim-runc-v2")],
  [
    "Debian's Go shim 2 and runc 1.3 under berthd",
    () => startBerthd({ release: "2" }),
    newerTool("containerd-shim-runc-v2"),
  ],
  [
    "berth's shim under Debian's containerd 1.6",
    () => startContainerd({ path: [SHIM_DIRECTORY] }),
    "io.containerd.berth.v2",
  ],
  [
    "berth's shim with runc 1.3 under Debian's containerd 2",
    () => startContainerd({ release: "2", path: [SHIM_DIRECTORY] }),
    "io.containerd.berth.v2",
  ],
  ["berth's shim under berthd", () => startBerthd(), "io.containerd.runc.v2"],
  ["berth's shim with crun", () => startBerthd(), "io.containerd.runc.v2", "crun"],
] as const)("%s", { timeout: 60_000 }, (_, start, runtime, program?: "crun") => {
  const stack = new AsyncDisposableStack();
  let daemon: PeerDaemon;
  let flags: readonly string[];
  const run = (...args: string[]) => daemon.ctr(["run", ...flags, ...args], { timeoutMs: 30_000 });

  beforeAll(async () => {
    const { path } = stack.use(await temporaryDirectory("peers"));
    const binary = program === undefined ? [] : ["--runc-binary", crunProgram(path)];
    flags = ["--runtime", runtime, ...binary];
    daemon = stack.use(await start());
    await daemon.ctr(["image", "import", "-"], { input: (await busyboxImage()).archive });
  });
  afterAll(() => stack.disposeAsync());

  const taskStatus = async (id: string): Promise<string | undefined> => {
    const { stdout } = await daemon.ctr(["task", "ls"]);
    const row = stdout.split("\n").find((line) => line.startsWith(`${id} `));
    return row?.trim().split(/\s+/).at(-1);
  };

  it("runs with output", async () => {
    expect(await run("--rm", BUSYBOX_IMAGE, "out", "echo", "hello")).toMatchObject({ code: 0, stdout: "hello\n" });
  });

  it("passes standard error and the exit code on", async () => {
    const result = await run("--rm", BUSYBOX_IMAGE, "err", "sh", "-c", "echo oops >&2; exit 42");
    expect(result).toMatchObject({ code: 42, stdout: "" });
    expect(result.stderr).toContain("oops");
  });

  it("reports a command that is not there", async () => {
    const { code, stderr } = await run("--rm", BUSYBOX_IMAGE, "none", "/no/such/program");
    expect(code).toBe(1);
    expect(stderr).toMatch(/no such file or directory/i);
    expect((await daemon.ctr(["task", "ls", "-q"])).stdout).toBe("");
  });

  it("executes in a running container", async () => {
    expect((await run("-d", BUSYBOX_IMAGE, "long", "sleep", "1000")).code).toBe(0);
    const exec = await daemon.ctr(["task", "exec", "--exec-id", "e1", "long", "sh", "-c", "echo inside; exit 4"]);
    expect(exec).toMatchObject({ code: 4, stdout: "inside\n" });
    expect(await taskStatus("long")).toBe("RUNNING");
  });

  it("refuses the id of an exec that is no name of a file", async () => {
    const { code, stderr } = await daemon.ctr(["task", "exec", "--exec-id", "../evil", "long", "true"]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/"\.\.\/evil" must match/);
  });

  it("counts and measures what runs", async () => {
    const [, init] = /^long +(\d+) +RUNNING$/m.exec((await daemon.ctr(["task", "ls"])).stdout) ?? [];
    expect((await daemon.ctr(["task", "ps", "long"])).stdout).toMatch(new RegExp(`^${init}\\s`, "m"));
    const { stdout } = await daemon.ctr(["task", "metrics", "long"]);
    // the names of cgroup v1, or those of v2
    expect(stdout).toMatch(/^memory\.usage(?:_in_bytes)? +[1-9]\d*/m);
    expect(stdout).toMatch(/^pids\.current +1 *$/m);
  });

  it("updates what it is limited in", async () => {
    const limits = { pids: { limit: 50 } };
    const typeUrl = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";
    const resources = { typeUrl, value: new TextEncoder().encode(JSON.stringify(limits)) };
    const tasks = createClient(Tasks, createUnixTransport({ path: daemon.address, namespace: "default" }));
    await tasks.update({ containerId: "long", resources });
    expect((await daemon.ctr(["task", "metrics", "long"])).stdout).toMatch(/^pids\.limit +50 *$/m);
  });

  it.each([
    [
      "a container",
      (script: string) => ["run", ...flags, "--rm", "-t", BUSYBOX_IMAGE, "tty", "sh", "-c", `'${script}'`],
    ],
    ["an exec", (script: string) => ["task", "exec", "-t", "--exec-id", "tty", "long", "sh", "-c", `'${script}'`]],
  ])("gives %s a terminal, and its size", async (__, command) => {
    // the size comes when the process runs
    const script = `tty; until [ "$(stty size)" = "33 101" ]; do sleep 0.1; done; stty size; exit 7`;
    const line = `stty rows 33 cols 101; ${debianTool("ctr")} -a ${daemon.address} ${command(script).join(" ")}`;
    const { code, stdout } = await runProgram("script", ["-qec", line, "/dev/null"], { timeoutMs: 30_000 });
    expect(stdout.replaceAll("\r", "")).toMatch(/\/dev\/(?:pts\/\d+|console)\n[^]*33 101\n$/);
    expect(code).toBe(7);
  });

  it("says why an exec with a terminal does not start", async () => {
    const line = `${debianTool("ctr")} -a ${daemon.address} task exec -t --exec-id nottty long /no/such`;
    const { code, stdout } = await runProgram("script", ["-qec", line, "/dev/null"], { timeoutMs: 30_000 });
    expect(stdout).toMatch(/no such file or directory/i);
    expect(code).toBe(1);
    expect(await taskStatus("long")).toBe("RUNNING");
  });

  it("pauses and resumes", async () => {
    await daemon.ctr(["task", "pause", "long"]);
    expect(await taskStatus("long")).toBe("PAUSED");
    await daemon.ctr(["task", "resume", "long"]);
    expect(await taskStatus("long")).toBe("RUNNING");
  });

  it("is taken over by the next daemon", async () => {
    await daemon.restart({ signal: "SIGKILL" });
    expect(await taskStatus("long")).toBe("RUNNING");
    const exec = await daemon.ctr(["task", "exec", "--exec-id", "e2", "long", "sh", "-c", "echo again; exit 5"]);
    expect(exec).toMatchObject({ code: 5, stdout: "again\n" });
  });

  it("kills and deletes", async () => {
    expect((await daemon.ctr(["task", "kill", "-s", "SIGKILL", "long"])).code).toBe(0);
    await expect.poll(() => taskStatus("long")).toBe("STOPPED");
    expect((await daemon.ctr(["task", "rm", "long"])).stderr).toContain("exit with non-zero exit code 137");
    expect((await daemon.ctr(["container", "rm", "long"])).code).toBe(0);
    expect((await daemon.ctr(["task", "ls", "-q"])).stdout).toBe("");
  });
});
