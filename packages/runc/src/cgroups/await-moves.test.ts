import { execFile } from "node:child_process";
import { mkdirSync, readFileSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";

import { cgroupHierarchies } from "@berth/linux/cgroups";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { awaitCgroupMoves } from "./await-moves.ts";

const NAMES = ["a", "b"].map((name) => `berth-moves-${process.pid}-${name}`);
const directories = cgroupHierarchies().flatMap(({ mountPoint }) => NAMES.map((name) => join(mountPoint, name)));

describe("awaitCgroupMoves", () => {
  beforeAll(() => directories.forEach((directory) => mkdirSync(directory)));
  afterAll(() => directories.forEach((directory) => rmdirSync(directory)));

  it("is done once for those who ask at the same time, and this process stays where it is", async () => {
    const before = readFileSync("/proc/self/cgroup", "utf8");
    const first = awaitCgroupMoves();
    expect(awaitCgroupMoves()).toBe(first);
    expect(await first).toBe(true);
    expect(readFileSync("/proc/self/cgroup", "utf8")).toBe(before);
  });

  it("does not bring a process back to a cgroup that it has left", async () => {
    const script = `
      import { readFileSync, writeFileSync } from "node:fs";
      import { cgroupHierarchies, joinCgroup } from "@berth/linux/cgroups";
      import { awaitCgroupMoves } from ${JSON.stringify(join(import.meta.dirname, "await-moves.ts"))};
      // beside hierarchies of version 1 nobody else moves a process in the unified tree
      const unified = cgroupHierarchies().filter(({ version }) => version === 2);
      const join = (name) => {
        joinCgroup(name, { root: true });
        for (const { mountPoint } of unified) writeFileSync(mountPoint + "/" + name + "/cgroup.procs", "0");
      };
      for (const name of ${JSON.stringify(NAMES)}) {
        join(name);
        if (!(await awaitCgroupMoves())) throw new Error("not done");
      }
      process.stdout.write(readFileSync("/proc/self/cgroup"));
      join("");`;
    const args = ["--conditions=@berth/source", "--input-type=module", "--eval", script];
    const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: import.meta.dirname });
    expect(stdout).toContain(`/${NAMES[1]}`);
    expect(stdout).not.toContain(`/${NAMES[0]}`);
  });
});
