import { existsSync } from "node:fs";
import { access, mkdir, readdir, readFile, readlink, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { codeName, codeOf } from "@berth/errors";
import { cgroupMode } from "@berth/linux/cgroups";
import { debianTool, launcher, temporaryDirectory } from "@berth/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { eventually, type Harness, processSpec, shimsOf, startHarness } from "./harness.ts";

let harness: Harness;
let shimPath: string;
let onStop: AsyncDisposable;

async function codeThrown(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => "ok",
    (error: unknown) => codeName(codeOf(error)),
  );
}

const run = (id: string, args: readonly string[]) =>
  harness.runtime.create(harness.namespace, id, harness.options(args));
const remove = (id: string) => harness.runtime.delete(harness.namespace, id);

interface Subject {
  readonly name: string;
  readonly version: number;
  readonly own: boolean;
}

const subjects: readonly Subject[] = [
  { name: "Debian's shim", version: 2, own: false },
  { name: "berth's shim, pooled", version: 3, own: true },
];

describe.each(subjects)("$name", ({ version, own }) => {
  beforeAll(async () => {
    const directory = await temporaryDirectory("shim");
    shimPath = own ? launcher("containerd-shim-berth-v2") : debianTool("containerd-shim-runc-v2");
    const sockets = own ? { poolSocketDir: join(directory.path, "s") } : {};
    harness = await startHarness({ defaultShim: shimPath, pooling: own, ...sockets });
    onStop = directory;
  });

  afterAll(async () => {
    await harness[Symbol.asyncDispose]();
    // A pool keeps the place of a cancelled create for a minute.
    for (const pid of shimsOf(harness.directory)) process.kill(pid, "SIGKILL");
    await onStop[Symbol.asyncDispose]();
  });

  it("runs a container to its end and leaves nothing", async () => {
    const task = await run("c1", ["sh", "-c", "exit 7"]);
    const bundle = join(harness.stateDir, "testing", "c1");
    expect((await task.state()).status).toBe("created");
    expect(await readlink(join(bundle, "work"))).toBe(join(harness.directory, "root", "testing", "c1"));
    expect((await stat(bundle)).mode & 0o777).toBe(0o700);
    expect((await stat(join(bundle, "log"))).isFIFO()).toBe(true);
    expect(JSON.parse(await readFile(join(bundle, "bootstrap.json"), "utf8"))).toMatchObject({
      version,
      protocol: "ttrpc",
    });
    expect(await readFile(join(bundle, "shim-binary-path"), "utf8")).toBe(shimPath);
    const waiting = task.wait();
    const pid = await task.start();
    expect(pid).toBeGreaterThan(0);
    expect((await waiting).exitStatus).toBe(7);
    expect(await task.state()).toMatchObject({ status: "stopped", exitStatus: 7, pid });
    expect(await remove("c1")).toMatchObject({ exitStatus: 7, pid });
    expect(await readdir(join(harness.stateDir, "testing"))).toEqual([]);
    expect(await readdir(join(harness.directory, "root", "testing"))).toEqual([]);
    if (!own) await eventually(() => shimsOf(harness.directory, "c1").length === 0);
    await eventually(() => harness.events.topics().includes("/tasks/delete"));
    expect(harness.events.topics()).toEqual(["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]);
  });

  it("execs, kills, pauses, counts", async () => {
    const task = await run("c2", ["sleep", "1000"]);
    await task.start();
    expect(await codeThrown(run("c2", ["true"]))).toBe("already_exists");
    expect(await codeThrown(remove("c2"))).not.toBe("ok");
    await task.exec("e1", {
      spec: processSpec(["sh", "-c", "exit 3"]),
      io: { stdin: "", stdout: "", stderr: "", terminal: false },
    });
    const waiting = task.wait({ execId: "e1" });
    expect(await task.start({ execId: "e1" })).toBeGreaterThan(0);
    expect((await waiting).exitStatus).toBe(3);
    expect((await task.deleteProcess("e1")).exitStatus).toBe(3);
    expect(await codeThrown(task.state({ execId: "e1" }))).toBe("not_found");
    await task.pause();
    expect((await task.state()).status).toBe("paused");
    await task.resume();
    expect(await task.pids()).toHaveLength(1);
    expect((await task.stats()).typeUrl).toContain(
      cgroupMode() === "unified" ? "cgroups.v2.Metrics" : "cgroups.v1.Metrics",
    );
    await task.kill({ signalNumber: 9 });
    expect((await task.wait()).exitStatus).toBe(137);
    await remove("c2");
    expect(await codeThrown(task.state())).toBe("not_found");
    expect(await codeThrown(remove("c2"))).toBe("not_found");
  });

  it("writes output to a file", async () => {
    const out = join(harness.directory, "out.log");
    const io = { stdin: "", stdout: `file://${out}`, stderr: `file://${out}`, terminal: false };
    const task = await harness.runtime.create(harness.namespace, "c3", harness.options(["echo", "hello"], { io }));
    const waiting = task.wait();
    await task.start();
    await waiting;
    await remove("c3");
    expect(await readFile(out, "utf8")).toBe("hello\n");
  });

  it("cleans up after a create that fails", async () => {
    const bad = { type: "bind", source: "/does/not/exist", target: "", options: ["bind"] };
    expect(
      await codeThrown(harness.runtime.create(harness.namespace, "c4", harness.options(["true"], { rootfs: [bad] }))),
    ).not.toBe("ok");
    expect(await readdir(join(harness.stateDir, "testing"))).toEqual([]);
    expect(harness.runtime.list(harness.namespace)).toEqual([]);
    const task = await run("c4", ["true"]);
    await remove(task.id);
  });

  it.each([
    ["no such runtime", { runtime: "io.containerd.nothing.v1" }, "not_found"],
    ["a malformed runtime", { runtime: "nothing" }, "invalid_argument"],
    ["a missing binary", { runtimePath: "/nothing/shim" }, "not_found"],
    ["a binary that is no shim", { runtimePath: "/bin/true" }, "invalid_argument"],
    ["a binary that fails", { runtimePath: "/bin/false" }, "unknown"],
  ])("create with %s fails and leaves nothing", async (_, change, code) => {
    expect(await codeThrown(harness.runtime.create(harness.namespace, "c5", harness.options(["true"], change)))).toBe(
      code,
    );
    expect(await readdir(join(harness.stateDir, "testing"))).toEqual([]);
  });

  it.each(["", "../x", "a/b", "-a"])("create refuses the id %j", async (id) => {
    expect(await codeThrown(run(id, ["true"]))).toBe("invalid_argument");
  });

  it("takes over tasks after a restart, and knows of an exit meanwhile", async () => {
    const first = await run("r1", ["sleep", "1000"]);
    const pid = await first.start();
    const end = join(harness.imagePath, "tmp", "end");
    const second = await run("r2", ["sh", "-c", "until test -e /tmp/end; do sleep 0.02; done; exit 9"]);
    const secondPid = await second.start();
    await mkdir(join(harness.directory, "root", "testing", "stale"));
    await mkdir(join(harness.stateDir, "testing", "empty"));
    await harness.stop();
    await writeFile(end, "");
    await eventually(() => !existsSync(`/proc/${secondPid}`));
    await rm(end);
    await harness.restart();
    const found = harness.runtime.list(harness.namespace).map(({ id }) => id);
    expect(found.toSorted()).toEqual(["r1", "r2"]);
    expect(await harness.runtime.get(harness.namespace, "r1").state()).toMatchObject({ status: "running", pid });
    expect((await harness.runtime.get(harness.namespace, "r2").wait()).exitStatus).toBe(9);
    await eventually(() => harness.events.exits().some(({ containerId }) => containerId === "r2"), 8000);
    expect((await remove("r2")).exitStatus).toBe(9);
    expect(harness.events.exits().filter(({ containerId }) => containerId === "r2")).toMatchObject([{ exitStatus: 9 }]);
    await expect(access(join(harness.directory, "root", "testing", "stale"))).rejects.toThrow("ENOENT");
    await expect(access(join(harness.stateDir, "testing", "empty"))).rejects.toThrow("ENOENT");
    await harness.runtime.get(harness.namespace, "r1").kill({ signalNumber: 9 });
    await harness.runtime.get(harness.namespace, "r1").wait();
    await remove("r1");
  });

  it("tells of the end within a second when the shim is killed", async () => {
    const task = await run("k1", ["sleep", "1000"]);
    await task.start();
    harness.events.sent.length = 0;
    const waiting = task.wait();
    process.kill(await shimPid("k1"), "SIGKILL");
    await eventually(() => harness.events.topics().includes("/tasks/exit"), own ? 3000 : 1000); // Node starts for it, on a busy machine
    expect((await waiting).exitStatus).toBe(137);
    expect(harness.events.exits()).toMatchObject([{ containerId: "k1", id: "k1", exitStatus: 137 }]);
    await eventually(() => harness.events.topics().includes("/tasks/delete"));
    expect(harness.runtime.list(harness.namespace)).toEqual([]);
    await harness.stop();
    await harness.restart();
    expect(await readdir(join(harness.stateDir, "testing"))).toEqual([]);
  });

  it("removes what a shim left that died while nobody watched", async () => {
    const task = await run("k2", ["sleep", "1000"]);
    const pid = await task.start();
    const shim = await shimPid("k2");
    await harness.stop();
    process.kill(shim, "SIGKILL");
    await harness.restart();
    expect(harness.runtime.list(harness.namespace)).toEqual([]);
    expect(await readdir(join(harness.stateDir, "testing"))).toEqual([]);
    // Its new parent may take its time to reap it.
    expect(await readFile(`/proc/${pid}/status`, "utf8").catch(() => "State:\tZ")).toMatch(/^State:\tZ/m);
  });

  it("kills a start that hangs, and leaves nothing", async () => {
    const script = join(harness.directory, "hang");
    await writeFile(script, "#!/bin/sh\necho $$ > pid\nsleep 1000\n", { mode: 0o755 });
    await using hurried = await startHarness({ defaultShim: script, startTimeoutMs: 300 });
    const { namespace, runtime } = hurried;
    const creating = runtime.create(namespace, "h1", hurried.options(["true"]));
    const pidFile = join(hurried.stateDir, "testing", "h1", "pid");
    let pid = "";
    while (pid === "") pid = await readFile(pidFile, "utf8").catch(() => "");
    expect(await codeThrown(creating)).toBe("deadline_exceeded");
    await expect(access(`/proc/${pid.trim()}`)).rejects.toThrow("ENOENT");
    expect(await readdir(join(hurried.stateDir, "testing"))).toEqual([]);
  });

  it("a create that is cancelled leaves neither shim nor bundle", async () => {
    const controller = new AbortController();
    const { signal } = controller;
    const creating = harness.runtime.create(harness.namespace, "a1", harness.options(["true"], { signal }));
    // somewhere between the bundle and its container
    await eventually(() => existsSync(join(harness.stateDir, "testing", "a1", "shim-binary-path")));
    controller.abort();
    expect(await codeThrown(creating)).toBe("canceled");
    expect(await readdir(join(harness.stateDir, "testing"))).toEqual([]);
    expect(harness.runtime.list(harness.namespace)).toEqual([]);
    if (!own) await eventually(() => shimsOf(harness.directory, "a1").length === 0);
  });
});

async function shimPid(id: string): Promise<number> {
  const task = harness.runtime.get(harness.namespace, id);
  const { pid } = await task.state();
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Number(/^PPid:\s*(\d+)/m.exec(status)?.[1]);
}
