import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { afterEach, describe, expect, it } from "vitest";

import { enableControllers } from "./enable-controllers.ts";

const ROOT = "/sys/fs/cgroup";
/** The unified tree, wherever this machine has it. */
const tree = [ROOT, join(ROOT, "unified")].find((path) => existsSync(join(path, "cgroup.controllers"))) ?? "";
const words = (file: string): string[] => readFileSync(join(tree, file), "utf8").split(/\s+/).filter(Boolean);
const own = `berth-test-${process.pid}-controllers`;

describe("enableControllers", () => {
  const enabled = tree === "" ? [] : words("cgroup.subtree_control");
  afterEach(() => {
    for (const path of [`${own}/a/c`, `${own}/a`, own]) if (existsSync(join(tree, path))) rmdirSync(join(tree, path));
    // as it was
    for (const controller of tree === "" ? [] : words("cgroup.subtree_control"))
      if (!enabled.includes(controller)) writeFileSync(join(tree, "cgroup.subtree_control"), `-${controller}`);
  });

  // a kernel whose controllers are all mounted as v1 has none left for the unified tree
  it.skipIf(tree === "" || words("cgroup.controllers").length === 0)(
    "passes every controller on to where a cgroup will be, and makes what is above it",
    () => {
      enableControllers(`/${own}/a/c`, tree);
      expect(existsSync(join(tree, own, "a", "c"))).toBe(false);
      mkdirSync(join(tree, own, "a", "c"));
      expect(words(`${own}/a/c/cgroup.controllers`)).toEqual(words("cgroup.controllers"));
      // again, and with what is there already
      enableControllers(`/${own}/a/c`, tree);
    },
  );

  it.each([
    ["no path", undefined],
    ["systemd's form", `a.slice:${own}:c`],
    ["a relative path", `${own}/a/c`],
  ])("leaves %s alone", (_, path) => {
    enableControllers(path, tree === "" ? ROOT : tree);
    expect(existsSync(join(tree, own))).toBe(false);
  });

  it("does nothing where there is no unified tree", () => {
    enableControllers(`/${own}/a/c`, "/proc/self");
    expect(existsSync(join("/proc/self", own))).toBe(false);
  });
});
