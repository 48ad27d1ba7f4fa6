import { silentLogger } from "@berth/core/log";
import type { ActivateOptions, ActivationInfo, Mount, MountManager } from "@berth/core/mount";
import { parseNamespace } from "@berth/core/namespaces";
import { alreadyExists, Code, codeOf, failedPrecondition, notFound, unimplemented } from "@berth/errors";
import { expect, it } from "vitest";

import { RootfsMounts } from "./rootfs-mounts.ts";

const mountOf = (type: string): Mount => ({ type, source: "", target: "", options: [] });
const name = { namespace: parseNamespace("one"), id: "c" };
const left = [mountOf("bind")];

/** A manager that notes its calls; `failures` are thrown by `activate`, one after the other. */
function fake(...failures: Error[]) {
  const calls: string[] = [];
  const given: ActivateOptions[] = [];
  const manager: MountManager = {
    async activate(id, mounts, options = {}): Promise<ActivationInfo> {
      calls.push(`activate ${id} ${mounts.map(({ type }) => type).join(" ")}`);
      given.push(options);
      const failure = failures.shift();
      if (failure !== undefined) throw failure;
      return { name: id, active: [], system: left, labels: new Map() };
    },
    deactivate: async (id) => void calls.push(`deactivate ${id}`),
    info: () => Promise.reject(notFound("none")),
    update: () => Promise.reject(unimplemented("none")),
    async *list() {},
  };
  const allowedTypes = async (binary: string) => {
    calls.push(`ask ${binary}`);
    return ["format/*"];
  };
  return { calls, given, rootfs: new RootfsMounts({ managerFor: () => manager, allowedTypes, log: silentLogger }) };
}

it("RootfsMounts.activate leaves the shim what the manager leaves, for as long as the container", async () => {
  const { rootfs, calls, given } = fake();
  expect(await rootfs.activate(name, [mountOf("erofs")], { binary: "shim" })).toBe(left);
  expect(calls).toEqual(["ask shim", "activate c erofs"]);
  const labels = new Map([["containerd.io/gc.bref.container", "c"]]);
  expect(given).toEqual([{ labels, allowMountTypes: ["format/*"], signal: undefined }]);
});

it("RootfsMounts.activate asks nobody for mounts that every shim makes, and without a manager", async () => {
  const { rootfs, calls } = fake();
  const plain = [mountOf("bind"), mountOf("overlay")];
  expect(await rootfs.activate(name, plain, { binary: "shim" })).toBe(plain);
  expect(calls).toEqual([]);
  const alone = new RootfsMounts({ managerFor: undefined, allowedTypes: async () => [], log: silentLogger });
  const list = [mountOf("erofs")];
  expect(await alone.activate(name, list, { binary: "shim" })).toBe(list);
  await alone.release(name);
});

it("RootfsMounts.activate takes a left over activation of the name away first", async () => {
  const { rootfs, calls } = fake(alreadyExists("c"));
  expect(await rootfs.activate(name, [mountOf("erofs")], { binary: "shim" })).toBe(left);
  expect(calls.slice(1)).toEqual(["activate c erofs", "deactivate c", "activate c erofs"]);
});

it("RootfsMounts.activate gives the shim what needs no manager, and passes failures on", async () => {
  const list = [mountOf("ext4")];
  expect(await fake(unimplemented("none")).rootfs.activate(name, list, { binary: "shim" })).toBe(list);
  const failing = fake(failedPrecondition("a link")).rootfs.activate(name, list, { binary: "shim" });
  expect(codeOf(await failing.catch((error: unknown) => error))).toBe(Code.FailedPrecondition);
});

it("RootfsMounts.release never throws", async () => {
  for (const failure of [notFound("c"), failedPrecondition("in use")]) {
    const manager = { deactivate: () => Promise.reject(failure) };
    // release calls nothing else
    const managerFor = () => manager as unknown as MountManager;
    const rootfs = new RootfsMounts({ managerFor, allowedTypes: async () => [], log: silentLogger });
    await rootfs.release(name);
  }
});
