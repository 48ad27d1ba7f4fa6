import { existsSync, readdirSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { unavailable } from "@berth/errors";
import { mountAll, unmountRecursive } from "@berth/linux/mount";
import { launcher, temporaryDirectory } from "@berth/testing";
import { Code } from "@connectrpc/connect";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";

import { Bundle } from "../src/bundle.ts";
import { eventually, type Harness, startHarness } from "./harness.ts";

let stack: AsyncDisposableStack;

beforeAll(() => {
  stack = new AsyncDisposableStack();
});

afterAll(() => stack.disposeAsync());

async function start(change: Partial<Parameters<typeof startHarness>[0]> = {}): Promise<Harness> {
  const sockets = await temporaryDirectory("sockets");
  stack.use(sockets);
  return await startHarness({
    defaultShim: launcher("containerd-shim-berth-v2"),
    pooling: true,
    poolSocketDir: sockets.path,
    ...change,
  });
}

const addressOf = async (harness: Harness, id: string): Promise<string> =>
  JSON.parse(await readFile(join(harness.stateDir, "testing", id, "bootstrap.json"), "utf8")).address;

const run = async (harness: Harness, id: string, args: readonly string[], change = {}): Promise<number> => {
  const task = await harness.runtime.create(harness.namespace, id, harness.options(args, change));
  return await task.start();
};

it("containers made at once share shims up to the cap, and the next shim takes the rest", async () => {
  await using harness = await start({ maxContainersPerShim: 2 });
  const ids = ["p1", "p2", "p3"];
  await Promise.all(ids.map((id) => run(harness, id, ["sleep", "1000"])));
  const addresses = await Promise.all(ids.map((id) => addressOf(harness, id)));
  expect(new Set(addresses).size).toBe(2);
});

it("as many containers as a shim takes, made at once, share one", async () => {
  await using harness = await start({ maxContainersPerShim: 8 });
  const ids = Array.from({ length: 8 }, (__, index) => `f${index}`);
  await Promise.all(ids.map((id) => run(harness, id, ["sleep", "1000"])));
  const addresses = await Promise.all(ids.map((id) => addressOf(harness, id)));
  expect(new Set(addresses).size).toBe(1);
});

it("the death of a pool is the end of each of its containers, told once, and few processes remove them", async () => {
  const { path } = stack.use(await temporaryDirectory("counting"));
  const shim = join(path, "containerd-shim-berth-v2");
  const calls = join(path, "calls");
  await writeFile(shim, `#!/bin/sh\necho "$@" >> ${calls}\nexec ${launcher("containerd-shim-berth-v2")} "$@"\n`, {
    mode: 0o755,
  });
  await using harness = await start({ defaultShim: shim });
  const ids = Array.from({ length: 20 }, (__, index) => `d${index + 10}`);
  const pids = await Promise.all(ids.map((id) => run(harness, id, ["sleep", "1000"])));
  await harness.runtime.get(harness.namespace, "d10").pause();
  const shimPid = await parentOf(pids[0] ?? 0);
  const waits = ids.map((id) => harness.runtime.get(harness.namespace, id).wait());
  process.kill(shimPid, "SIGKILL");
  expect((await Promise.all(waits)).map(({ exitStatus }) => exitStatus)).toEqual(ids.map(() => 137));
  const deleted = (): number => harness.events.topics().filter((topic) => topic === "/tasks/delete").length;
  await eventually(() => deleted() === ids.length);
  expect((await readFile(calls, "utf8")).split("\n").filter((call) => / delete\b/.test(call)).length).toBeLessThan(5);
  for (const pid of pids)
    expect(await readFile(`/proc/${pid}/status`, "utf8").catch(() => "State:\tZ")).toMatch(/^State:\tZ/m);
  expect(
    harness.events
      .exits()
      .map(({ id }) => id)
      .toSorted(),
  ).toEqual(ids);
  expect(harness.runtime.list(harness.namespace)).toEqual([]);
  // The socket of the dead shim must not be in the way of the next.
  await run(harness, "d1", ["sleep", "1000"]);
});

it("an exit that nobody saw, of a shim that died since, is listed, told once, and can be waited for and deleted", async () => {
  await using harness = await start();
  const living = await run(harness, "e1", ["sleep", "1000"]);
  // it ends when nobody watches any more
  await run(harness, "e2", ["sh", "-c", "until test -e /tmp/end; do sleep 0.02; done; exit 5"]);
  const shimPid = await parentOf(living);
  const record = join(harness.stateDir, "testing", "e2", "exits", "init.json");
  await harness.stop();
  await writeFile(join(harness.imagePath, "tmp", "end"), "");
  await eventually(() => existsSync(record));
  process.kill(shimPid, "SIGKILL");
  await harness.restart();
  expect(harness.runtime.list(harness.namespace).map(({ id }) => id)).toEqual(["e2"]);
  const task = harness.runtime.get(harness.namespace, "e2");
  expect(await task.state()).toMatchObject({ id: "e2", status: "stopped", exitStatus: 5 });
  expect((await task.wait()).exitStatus).toBe(5);
  await expect(task.kill({ signalNumber: 9 })).rejects.toMatchObject({ code: 5 });
  await harness.restart();
  expect(harness.events.exits()).toMatchObject([{ containerId: "e2", exitStatus: 5 }]);
  expect(await harness.runtime.delete(harness.namespace, "e2")).toMatchObject({ exitStatus: 5 });
  expect(harness.runtime.list(harness.namespace)).toEqual([]);
  expect(harness.events.topics().at(-1)).toBe("/tasks/delete");
});

it("a task joins the shim of its sandbox when that speaks version 3", async () => {
  await using harness = await start({ pooling: false, env: ["MAX_SHIM_VERSION=3", "BERTH_SHIM_GROUPING=container"] });
  await run(harness, "sb", ["sleep", "1000"]);
  await run(harness, "in", ["sleep", "1000"], { sandboxId: "sb" });
  await run(harness, "out", ["sleep", "1000"], { sandboxId: "none" });
  expect(await addressOf(harness, "in")).toBe(await addressOf(harness, "sb"));
  expect(await addressOf(harness, "out")).not.toBe(await addressOf(harness, "sb"));
  expect(await readFile(join(harness.stateDir, "testing", "in", "sandbox"), "utf8")).toBe("sb");
});

describe("a bundle in which nothing can be noted", () => {
  const lock = async (harness: Harness, id: string): Promise<AsyncDisposable> => {
    const exits = join(harness.stateDir, "testing", id, "exits");
    await mkdir(exits, { recursive: true });
    await mountAll([{ type: "bind", source: exits, options: ["rbind", "ro"] }], exits);
    return {
      async [Symbol.asyncDispose]() {
        // what removes bundles has done by then; it hides them first
        await harness.stop();
        const hidden = exits.replace(`/${id}/`, `/.${id}/`);
        for (const path of [exits, hidden]) if (existsSync(path)) await unmountRecursive(path);
      },
    };
  };

  it("does not keep the end of a task whose shim died from being told", async () => {
    await using harness = await start();
    const shimPid = await parentOf(await run(harness, "w1", ["sleep", "1000"]));
    await using _lock = await lock(harness, "w1");
    const waiting = harness.runtime.get(harness.namespace, "w1").wait();
    process.kill(shimPid, "SIGKILL");
    expect((await waiting).exitStatus).toBe(137);
    await eventually(() => harness.events.topics().includes("/tasks/delete"));
    expect(harness.events.exits()).toMatchObject([{ containerId: "w1", exitStatus: 137 }]);
    expect(harness.runtime.list(harness.namespace)).toEqual([]);
  });

  it("does not keep tasks from being taken over, with exits that are told", async () => {
    await using harness = await start();
    const shimPid = await parentOf(await run(harness, "w2", ["sleep", "1000"]));
    await run(harness, "w3", ["sh", "-c", "until test -e /tmp/end; do sleep 0.02; done; exit 5"]);
    await harness.stop();
    await writeFile(join(harness.imagePath, "tmp", "end"), "");
    await eventually(() => existsSync(join(harness.stateDir, "testing", "w3", "exits", "init.json")));
    await using _lock = await lock(harness, "w3");
    process.kill(shimPid, "SIGKILL");
    await harness.restart();
    expect(harness.runtime.list(harness.namespace).map(({ id }) => id)).toEqual(["w3"]);
    expect(harness.events.exits()).toMatchObject([{ containerId: "w3", exitStatus: 5 }]);
  });
});

it("an error of class unavailable of a shim that lives is the answer: it is not tried again", async () => {
  await using harness = await start();
  const { shims } = harness;
  const startShim = shims.start.bind(shims);
  let starts = 0;
  shims.start = async (...args) => {
    const connection = await startShim(...args);
    starts += 1;
    connection.call = () => Promise.reject(unavailable("mount: helper failed"));
    return connection;
  };
  await expect(run(harness, "u1", ["sleep", "1000"])).rejects.toMatchObject({ code: Code.Unavailable });
  expect(starts).toBe(1);
});

it("a pool whose container others have removed lets go of it, and ends", async () => {
  await using harness = await start();
  await run(harness, "g1", ["sleep", "1000"]);
  const socket = (await addressOf(harness, "g1")).replace("unix://", "");
  const bundle = new Bundle(
    { stateDir: harness.stateDir, rootDir: join(harness.directory, "root") },
    { namespace: harness.namespace, id: "g1" },
  );
  const shim = launcher("containerd-shim-berth-v2");
  // what a daemon does that has lost the connection to a shim which lives
  await harness.shims.runDelete(bundle, shim, { timeoutMs: 10_000 });
  await bundle.delete();
  await eventually(() => !existsSync(socket));
});

it("a sandbox that has a record and was never started takes no task", async () => {
  await using harness = await start();
  harness.sandboxRecords.add("recorded");
  const inSandbox = run(harness, "u3", ["sleep", "1000"], { sandboxId: "recorded" });
  await expect(inSandbox).rejects.toMatchObject({ code: Code.NotFound });
  expect(readdirSync(join(harness.stateDir, "testing"))).toEqual([]);
  await run(harness, "recorded", ["sleep", "1000"], { sandboxId: "recorded" });
  expect(await run(harness, "u3", ["sleep", "1000"], { sandboxId: "recorded" })).toBeGreaterThan(0);
});

it("a sandbox whose address nobody answers is tried once", async () => {
  await using harness = await start();
  const { connections } = harness.shims;
  const connect = vi.spyOn(connections, "connect");
  const taskApiAddress = `ttrpc+unix://${harness.directory}/nobody`;
  const change = { sandboxId: "x", taskApiAddress, taskApiVersion: 3 };
  await expect(run(harness, "u2", ["sleep", "1000"], change)).rejects.toMatchObject({ code: Code.Unavailable });
  expect(connect).toHaveBeenCalledTimes(1);
});

/** A program that serves as the shim does, but dies so many times first. */
async function dyingShim(deaths: number, lifeS: number): Promise<{ readonly self: string; readonly calls: string }> {
  const { path } = stack.use(await temporaryDirectory("dying"));
  const [self, calls] = [join(path, "shim"), join(path, "calls")];
  const dies = `if [ $(wc -l < ${calls}) -le ${deaths} ]; then sleep ${lifeS}; exit 1; fi`;
  await writeFile(
    self,
    `#!/bin/sh\necho "$$" >> ${calls}\n${dies}\nexec ${launcher("containerd-shim-berth-v2")} "$@"\n`,
    { mode: 0o755 },
  );
  return { self, calls };
}

it.each([0, 0.4])(
  "a shim that dies %d s after its start, before it made anything, is not the end of a creation",
  async (lifeS) => {
    const { self, calls } = await dyingShim(1, lifeS);
    await using harness = await start({ env: [`BERTH_SHIM_SELF=${self}`] });
    expect(await run(harness, "r1", ["sleep", "1000"])).toBeGreaterThan(0);
    expect((await readFile(calls, "utf8")).trim().split("\n")).toHaveLength(2);
  },
);

it.each([0, 0.2])(
  "shims that die %d s after their start make a creation fail with the third, of which nothing is left",
  async (lifeS) => {
    const { self, calls } = await dyingShim(100, lifeS);
    await using harness = await start({ env: [`BERTH_SHIM_SELF=${self}`] });
    await expect(run(harness, "r2", ["sleep", "1000"])).rejects.toMatchObject({ code: Code.Unavailable });
    expect(harness.runtime.list(harness.namespace)).toEqual([]);
    expect((await readFile(calls, "utf8")).trim().split("\n")).toHaveLength(3);
    await eventually(() => readdirSync(join(harness.stateDir, "testing")).length === 0);
  },
);

it("a task does not go to a pool that is ending", async () => {
  await using harness = await start();
  const pid = await run(harness, "s1", ["sleep", "1000"]);
  const shimPid = await parentOf(pid);
  // a call that lasts keeps the connection while the pool ends
  const waiting = harness.runtime.get(harness.namespace, "s1").wait();
  const socket = (await addressOf(harness, "s1")).replace("unix://", "");
  process.kill(shimPid, "SIGTERM");
  await eventually(() => !existsSync(socket));
  expect(await parentOf(await run(harness, "s2", ["sleep", "1000"]))).not.toBe(shimPid);
  expect((await waiting).exitStatus).toBe(137);
});

it("a pool that is told to end after it kept a place is not the end of the creation: another one makes it", async () => {
  await using harness = await start();
  const shimPid = await parentOf(await run(harness, "s3", ["sleep", "1000"]));
  // a call that lasts keeps the connection while the pool ends
  const waiting = harness.runtime.get(harness.namespace, "s3").wait();
  const socket = (await addressOf(harness, "s3")).replace("unix://", "");
  const { shims } = harness;
  const startShim = shims.start.bind(shims);
  let starts = 0;
  shims.start = async (...args) => {
    const connection = await startShim(...args);
    starts += 1;
    if (starts > 1) return connection;
    process.kill(shimPid, "SIGTERM");
    await eventually(() => !existsSync(socket));
    return connection;
  };
  const pid = await run(harness, "s4", ["sleep", "1000"]);
  expect(await parentOf(pid)).not.toBe(shimPid);
  expect(starts).toBe(2);
  expect((await waiting).exitStatus).toBe(137);
  await eventually(() => harness.runtime.list(harness.namespace).length === 1);
  expect(harness.runtime.list(harness.namespace).map(({ id }) => id)).toEqual(["s4"]);
});

async function parentOf(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, "utf8");
  return Number(/^PPid:\s*(\d+)/m.exec(status)?.[1]);
}
