import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { afterEach, beforeEach, describe, expect, it } from "vitest";

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "berth-remove-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** Removes the tree in a process that may open few files. */
function removeWithFewDescriptors(name: string): void {
  const script = `
    import { openSync } from "node:fs";
    import { removeTree } from ${JSON.stringify(new URL("./remove-tree.ts", import.meta.url).href)};
    removeTree(openSync(${JSON.stringify(directory)}), ${JSON.stringify(name)});
  `;
  const command = [process.execPath, "--conditions=@berth/source", "--input-type=module", "-e", script];
  execFileSync("sh", ["-c", 'ulimit -n 120; exec "$@"', "sh", ...command]);
}

describe("removeTree", () => {
  it("removes what is deeper than a path may be long, with few descriptors open", () => {
    mkdirSync(join(directory, "tree"));
    for (let i = 0; i < 3; i++) {
      mkdirSync(join(directory, "next", "d/".repeat(1900)), { recursive: true });
      renameSync(join(directory, "tree"), join(directory, "next", "d/".repeat(1899), "tree"));
      renameSync(join(directory, "next"), join(directory, "tree"));
    }
    mkdirSync(join(directory, "kept"));
    writeFileSync(join(directory, "kept/file"), "");
    symlinkSync(join(directory, "kept"), join(directory, "tree/d/d/link"));
    writeFileSync(join(directory, "tree/d/file"), "");
    removeWithFewDescriptors("tree");
    expect(existsSync(join(directory, "tree"))).toBe(false);
    expect(existsSync(join(directory, "kept/file"))).toBe(true);
  });

  it("does nothing where there is nothing", () => {
    removeWithFewDescriptors("never");
    expect(existsSync(directory)).toBe(true);
  });
});
