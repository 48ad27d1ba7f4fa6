import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

import type { Mount, MountManager } from "@berth/core/mount";
import { codeName, codeOf, notFound, unimplemented } from "@berth/errors";
import { debianTool } from "@berth/testing";
import { afterAll, beforeAll, expect, it } from "vitest";

import { eventually, type Harness, startHarness } from "./harness.ts";

let harness: Harness;
/** Set while something holds back the removal of mounts. */
let held: PromiseWithResolvers<void> | undefined;
const released: string[] = [];

/** A manager whose mounts are those that the shim can make. */
const mounts: MountManager = {
  activate: async (name, given) => ({ name, active: [], system: given.map(asBind), labels: new Map() }),
  async deactivate(name) {
    await held?.promise;
    released.push(name);
  },
  info: () => Promise.reject(notFound("none")),
  update: () => Promise.reject(unimplemented("none")),
  async *list() {},
};
const asBind = (mount: Mount): Mount => ({ ...mount, type: "bind" });

beforeAll(async () => {
  harness = await startHarness({ defaultShim: debianTool("containerd-shim-runc-v2"), mounts: () => mounts });
});

afterAll(async () => {
  held?.resolve();
  await harness[Symbol.asyncDispose]();
});

const create = (id: string) => {
  const rootfs = [{ type: "format/bind", source: harness.imagePath, target: "", options: ["rbind", "rw"] }];
  return harness.runtime.create(harness.namespace, id, harness.options(["sleep", "1000"], { rootfs }));
};

async function endedTask(id: string): Promise<void> {
  const task = await create(id);
  await task.start();
  await task.kill({ signalNumber: 9 });
  await task.wait();
}

/** This deletes, and tells the exit status or the code of the failure. */
async function remove(id: string, signal?: AbortSignal): Promise<number | string> {
  return await harness.runtime.delete(harness.namespace, id, { signal }).then(
    ({ exitStatus }) => exitStatus,
    (error: unknown) => codeName(codeOf(error)),
  );
}

it("a deletion goes on when its caller leaves, and another caller gets the exit status", async () => {
  await endedTask("d1");
  const leaver = new AbortController();
  const [first, second] = [remove("d1", leaver.signal), remove("d1")];
  leaver.abort();
  expect(await first).toBe("canceled");
  expect(await second).toBe(137);
  expect(await remove("d1")).toBe("not_found");
});

it("the exit status of a deletion that nobody waited for is told to the one who asks again, once", async () => {
  await endedTask("d2");
  const leaver = new AbortController();
  const leaving = remove("d2", leaver.signal);
  leaver.abort();
  expect(await leaving).toBe("canceled");
  await eventually(() => !existsSync(join(harness.stateDir, harness.namespace, "d2")));
  expect(await remove("d2")).toBe(137);
  expect(await remove("d2")).toBe("not_found");
});

it("that exit status is not taken for the next task's of the same name", async () => {
  await endedTask("d3");
  const leaver = new AbortController();
  const leaving = remove("d3", leaver.signal);
  leaver.abort();
  await leaving;
  const isFree = () =>
    create("d3").then(
      () => true,
      () => false,
    );
  await expect.poll(isFree).toBe(true);
  await harness.runtime.get(harness.namespace, "d3").kill({ signalNumber: 9 });
  await harness.runtime.get(harness.namespace, "d3").wait();
  expect(await remove("d3")).toBe(137);
  expect(await remove("d3")).toBe("not_found");
});

it("a name is free when nothing is left of its task: no later than that, and no earlier", async () => {
  await endedTask("d4");
  held = Promise.withResolvers();
  const removing = remove("d4");
  const bundle = join(harness.stateDir, harness.namespace, "d4");
  await eventually(() => !existsSync(bundle));
  expect(harness.runtime.list(harness.namespace)).toEqual([]);
  await expect(create("d4")).rejects.toSatisfy((error) => codeName(codeOf(error)) === "already_exists");
  released.length = 0;
  held.resolve();
  held = undefined;
  expect(await removing).toBe(137);
  expect(released).toEqual(["d4"]);
  await endedTask("d4");
  expect(await remove("d4")).toBe(137);
});

it("a task whose shim is dead is gone, and told to be, when nothing is left of it", async () => {
  const task = await create("d5");
  const pid = await task.start();
  held = Promise.withResolvers();
  const bundle = join(harness.stateDir, harness.namespace, "d5");
  const shimPid = Number(/^PPid:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
  await eventually(() => harness.events.topics().at(-1) === "/tasks/start");
  harness.events.sent.length = 0;
  process.kill(shimPid, "SIGKILL");
  await task.wait();
  const removing = remove("d5");
  await eventually(() => !existsSync(bundle));
  expect(harness.events.topics()).toEqual(["/tasks/exit"]);
  held.resolve();
  held = undefined;
  expect(await removing).toBe(137);
  expect(harness.events.topics()).toEqual(["/tasks/exit", "/tasks/delete"]);
});
