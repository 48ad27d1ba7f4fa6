import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

import type { PeerDaemon } from "@berth/testing";
import { BUSYBOX_IMAGE, busyboxImage, launcher, runProgram, startBerthd, temporaryDirectory } from "@berth/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

async function parentOf(pid: number): Promise<number> {
  const [, parent] = /^PPid:\s*(\d+)$/m.exec(await readFile(`/proc/${pid}/status`, "utf8")) ?? [];
  return Number(parent);
}

describe("sandboxes and runtimes", { timeout: 60_000 }, () => {
  const stack = new AsyncDisposableStack();
  let daemon: PeerDaemon;
  let directory: string;
  const ctr = (...args: string[]) =>
    runProgram(launcher("ctr"), ["-a", daemon.address, ...args], { timeoutMs: 30_000 });
  const config = async (text: string): Promise<string> => {
    const path = join(directory, "pod.json");
    await writeFile(path, text);
    return path;
  };

  beforeAll(async () => {
    directory = stack.use(await temporaryDirectory("ctr-sandboxes")).path;
    daemon = stack.use(await startBerthd());
  });
  afterAll(() => stack.disposeAsync());

  it("run, ls, info and rm of a sandbox", async () => {
    expect(await ctr("sandboxes", "run", await config('{"annotations":{}}'), "pod1")).toEqual({
      code: 0,
      stdout: "pod1\n",
      stderr: "",
    });
    const listed = await ctr("sandbox", "ls");
    expect(listed.stdout).toMatch(/^ID +CREATED +RUNTIME *\npod1 .* io\.containerd\.runc\.v2 *\n$/);
    expect((await ctr("sb", "ls", "--filters", "id==other")).stdout.trim().split("\n")).toHaveLength(1);
    expect(JSON.parse((await ctr("s", "info", "pod1")).stdout)).toMatchObject({
      ID: "pod1",
      Sandboxer: "shim",
      Spec: { annotations: {} },
      Status: { State: "SANDBOX_READY", Version: 3, Pid: expect.any(Number) },
    });
    expect((await ctr("sandboxes", "run", await config("{}"), "pod1")).stderr).toContain("pod1");
    expect(await ctr("sandboxes", "rm", "pod1")).toMatchObject({ code: 0, stderr: "" });
    expect((await ctr("sandboxes", "ls")).stdout.trim().split("\n")).toHaveLength(1);
  });

  it("run --sandbox: containers run in the process of their sandbox, and end with it", async () => {
    await daemon.ctr(["image", "import", "-"], { input: (await busyboxImage()).archive });
    await ctr("sandboxes", "run", await config("{}"), "pod3");
    const { Pid: shim } = JSON.parse((await ctr("sandboxes", "info", "pod3")).stdout).Status;
    for (const id of ["in1", "in2"]) {
      const ran = await ctr("run", "-d", "--sandbox", "pod3", BUSYBOX_IMAGE, id, "sleep", "1000");
      expect(ran).toEqual({ code: 0, stdout: "", stderr: "" });
    }
    expect(JSON.parse((await ctr("container", "info", "in1")).stdout)).toMatchObject({ SandboxID: "pod3" });
    const pidOf = async (id: string) => JSON.parse((await ctr("shim", "--id", id, "state")).stdout).pid as number;
    for (const id of ["in1", "in2"]) expect(await parentOf(await pidOf(id))).toBe(shim);
    // one without a sandbox is not put there
    await ctr("run", "-d", BUSYBOX_IMAGE, "out", "sleep", "1000");
    expect(await parentOf(await pidOf("out"))).not.toBe(shim);
    expect(await ctr("run", "--rm", "--sandbox", "pod3", BUSYBOX_IMAGE, "in3", "sh", "-c", "exit 7")).toMatchObject({
      code: 7,
    });
    await ctr("sandboxes", "rm", "pod3");
    const listed = await ctr("task", "ls");
    expect(listed.stdout).toMatch(/^in1 .*STOPPED/m);
    expect(listed.stdout).toMatch(/^out .*RUNNING/m);
    await ctr("task", "kill", "-s", "SIGKILL", "out");
    for (const id of ["in1", "in2", "out"]) {
      await ctr("task", "rm", "-f", id);
      expect(await ctr("container", "rm", id)).toMatchObject({ code: 0 });
    }
  });

  it.each([
    ["no configuration", ["sandboxes", "run"]],
    ["no id", ["sandboxes", "run", "POD"]],
    ["a configuration that is no JSON", ["sandboxes", "run", "BAD", "pod2"]],
    ["an unknown runtime", ["sandboxes", "run", "--runtime", "io.example.none.v1", "POD", "pod2"]],
    ["the info of one that is not there", ["sandboxes", "info", "none"]],
    ["the removal of one that is not there", ["sandboxes", "rm", "none"]],
  ])("%s is refused in one line, and leaves nothing", async (_, args) => {
    const file = await config(args.includes("BAD") ? "{" : "{}");
    const { code, stderr } = await ctr(...args.map((arg) => (arg === "POD" || arg === "BAD" ? file : arg)));
    expect(code).toBe(1);
    expect(stderr.trim().split("\n")).toHaveLength(1);
    expect((await ctr("sandboxes", "ls")).stdout.trim().split("\n")).toHaveLength(1);
  });

  it("shim: asks the shim of a task itself, and acts on it past the daemon", async () => {
    await daemon.ctr(["image", "import", "-"], { input: (await busyboxImage()).archive });
    expect(await daemon.ctr(["run", "-d", BUSYBOX_IMAGE, "c1", "sleep", "1000"])).toMatchObject({ code: 0 });
    const shown = JSON.parse((await ctr("shim", "--id", "c1", "state")).stdout);
    expect(shown).toMatchObject({ id: "c1", pid: expect.any(Number), status: 2 });
    const { address } = JSON.parse(
      await readFile(join(daemon.state, "io.containerd.runtime.v2.task", "default", "c1", "bootstrap.json"), "utf8"),
    );
    const other = ["shim", "--id", "x", "--shim-address", address, "state", "-t", "c1", "--api-version", "2"];
    expect(JSON.parse((await ctr(...other)).stdout)).toEqual(shown);
    const spec = await config('{"args":["true"],"env":["PATH=/bin"],"cwd":"/","user":{"uid":0,"gid":0}}');
    expect((await ctr("shim", "--id", "c1", "exec", "--spec", spec, "e1")).stdout).toMatch(
      /^exec running with pid \d+\n$/,
    );
    const shell = await config(
      '{"args":["sh","-c","read word; echo $WORD $word $PWD; exit 6"],"env":["PATH=/bin"],"cwd":"/","user":{"uid":0,"gid":0}}',
    );
    const attach = ["shim", "--id", "c1", "exec", "--spec", shell, "--attach", "--env", "WORD=hello", "--cwd", "/bin"];
    const options = { input: new TextEncoder().encode("there\n"), timeoutMs: 30_000 };
    for (const again of ["e2", "e2"]) {
      const { code, stdout } = await runProgram(launcher("ctr"), ["-a", daemon.address, ...attach, again], options);
      expect({ code, stdout }).toEqual({ code: 6, stdout: "hello there /bin\n" });
    }
    expect(await ctr(...attach, "--tty", "e/1")).toMatchObject({ code: 1, stdout: "" });
    expect(await ctr("shim", "--id", "c1", "delete")).toMatchObject({ code: 1, stdout: "" });
    await daemon.ctr(["task", "kill", "-s", "SIGKILL", "c1"]);
    await expect.poll(async () => JSON.parse((await ctr("shim", "--id", "c1", "state")).stdout).status).toBe(3);
    expect((await ctr("shim", "--id", "c1", "delete")).stdout).toBe("container deleted and returned exit status 137\n");
    expect(await ctr("shim", "--id", "c1", "shutdown")).toMatchObject({ code: 0 });
    await daemon.ctr(["container", "rm", "c1"]);
  });

  it.each([
    ["without an id", ["state"], "--id"],
    ["with an id that is none", ["--id", "../x", "state"], "must match"],
    ["of a task that is not there", ["--id", "nobody", "state"], ""],
    ["in a version that is none", ["--id", "c", "state", "--api-version", "4"], "version 4"],
    ["for pprof", ["--id", "c", "pprof", "heap"], "SIGUSR1"],
  ])("shim %s is refused in one line", async (_, args, text) => {
    const { code, stderr } = await ctr("shim", ...args);
    expect(code).toBe(1);
    expect(stderr.trim().split("\n")).toHaveLength(1);
    expect(stderr).toContain(text);
  });

  it("inspect-runtime tells what the runtime of a shim can do", async () => {
    const { code, stdout } = await ctr("plugins", "inspect-runtime");
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      Name: "io.containerd.berth.v2",
      Features: { ociVersionMin: expect.any(String) },
    });
    const other = await ctr("plugins", "inspect-runtime", "--runc-binary", "/no/such/runc");
    expect(other).toMatchObject({ code: 1, stdout: "" });
    expect((await ctr("plugins", "inspect-runtime", "--runtime", "io.example.none.v1")).stderr).toContain(
      "not installed",
    );
  });
});
