import { alreadyExists, Code, codeOf, failedPrecondition, notFound, unimplemented } from "@berth/errors";
import { expect, it } from "vitest";

import { activateMounts, type ActivationInfo, type Mount } from "./mount.ts";

const mount: Mount = { type: "erofs", source: "", target: "", options: [] };
const info: ActivationInfo = { name: "a", active: [], system: [{ ...mount, type: "bind" }], labels: new Map() };

function manager(activated: ActivationInfo | Error, deactivated?: Error) {
  const calls: string[] = [];
  return {
    calls,
    async activate(name: string) {
      calls.push(`activate ${name}`);
      if (activated instanceof Error) throw activated;
      return activated;
    },
    async deactivate(name: string) {
      calls.push(`deactivate ${name}`);
      if (deactivated !== undefined) throw deactivated;
    },
  };
}

it("activateMounts gives what the manager leaves, until it is disposed", async () => {
  const fake = manager(info);
  {
    await using activated = await activateMounts(fake, "a", [mount]);
    expect(activated.mounts).toBe(info.system);
    expect(fake.calls).toEqual(["activate a"]);
  }
  expect(fake.calls).toEqual(["activate a", "deactivate a"]);
});

it("activateMounts gives the mounts themselves where they need no manager, and passes failures on", async () => {
  const fake = manager(unimplemented("none"));
  const mounts = [mount];
  {
    await using activated = await activateMounts(fake, "a", mounts);
    expect(activated.mounts).toBe(mounts);
  }
  expect(fake.calls).toEqual(["activate a"]);
  const failed = await activateMounts(manager(alreadyExists("a")), "a", mounts).catch((error: unknown) => error);
  expect(codeOf(failed)).toBe(Code.AlreadyExists);
});

it("activateMounts leaves a mount that is in use at its disposal to the collector, and tells of any other failure", async () => {
  const busy = await activateMounts(manager(info, failedPrecondition("in use")), "a", [mount]);
  await busy[Symbol.asyncDispose]();
  const gone = await activateMounts(manager(info, notFound("a")), "a", [mount]);
  await expect(gone[Symbol.asyncDispose]()).rejects.toThrow("a");
});

it("activateMounts asks nobody for mounts that everybody makes", async () => {
  const fake = manager(info);
  const mounts = [
    { ...mount, type: "overlay" },
    { ...mount, type: "bind" },
  ];
  await using activated = await activateMounts(fake, "a", mounts);
  expect(activated.mounts).toBe(mounts);
  expect(fake.calls).toEqual([]);
});
