import { linkSync, mkdirSync, readdirSync, renameSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import type { Mount } from "@berth/core/mount";
import { mountTemporary } from "@berth/linux/mount";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { openComparedTrees } from "../src/compared-trees.ts";
import { type Trees, walkChanges } from "../src/walk-changes.ts";
import { LayerFixture } from "./layer-fixture.ts";

const NAMES = ["a", "b", "c"];
const path = fc.array(fc.constantFrom(...NAMES), { minLength: 1, maxLength: 3 }).map((names) => names.join("/"));
const step = fc.record({
  kind: fc.constantFrom("write", "mkdir", "remove", "link", "symlink", "rename", "touch"),
  path,
  other: path,
});
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** Does what can be done; the rest of a random step is passed over. */
function change(root: string, { kind, path: name, other }: Step): void {
  const at = join(root, name);
  try {
    if (kind === "write") writeFileSync(at, other);
    else if (kind === "mkdir") mkdirSync(at, { recursive: true });
    else if (kind === "remove") rmSync(at, { recursive: true });
    else if (kind === "link") linkSync(join(root, other), at);
    else if (kind === "symlink") symlinkSync(other, at);
    else if (kind === "rename") renameSync(join(root, other), at);
    else utimesSync(at, 1000, 1000);
  } catch (error) {
    if (!(error instanceof Error && "code" in error)) throw error;
  }
}

const found = (trees: Trees): string[] =>
  Array.from(
    walkChanges(trees),
    ({ kind, path: name, parents }) => `${kind} ${parents.at(-1)?.path ?? ""} ${name}`,
  ).filter(
    // Names of one inode are told so that links can be made; an inode has changed names in the top directory only.
    (line) => !line.startsWith("linked"),
  );

async function commit(mount: Mount, steps: readonly Step[]): Promise<void> {
  await using mounted = await mountTemporary([mount]);
  for (const one of steps) change(mounted.path, one);
}

describe("walkChanges", () => {
  it("finds the same with the help of the upper directory as without", async () => {
    const property = fc.asyncProperty(
      fc.array(step, { maxLength: 30 }),
      fc.array(step, { maxLength: 20 }),
      fc.array(step, { minLength: 1, maxLength: 20 }),
      async (first, second, third) => {
        using fixture = new LayerFixture();
        const base = fixture.make("base");
        for (const name of NAMES) mkdirSync(join(base, name, "b", "c"), { recursive: true });
        for (const one of first) change(base, one);
        await commit(fixture.overlay("middle", "base"), second);
        const upper = fixture.overlay("upper", "middle", "base");
        await commit(upper, third);
        const view: Mount = {
          type: "overlay",
          source: "overlay",
          target: "",
          options: [`lowerdir=${fixture.make("middle")}:${base}`],
        };
        await using compared = await openComparedTrees([view], [upper], { temporaryDirectory: fixture.directory });
        const { trees } = compared;
        expect(trees.top).toBe(fixture.make("upper"));
        expect(found(trees)).toEqual(found({ ...trees, top: undefined }));
      },
    );
    await fc.assert(property, { numRuns: 60 });
  });

  it.each([
    [
      "made again where one was removed",
      [
        { kind: "remove", path: "a" },
        { kind: "mkdir", path: "a/new" },
      ],
      ["changed a a/new", "delete a a/old", "delete a a/sub"],
    ],
    [
      "made again with one of the same name in it",
      [
        { kind: "remove", path: "a" },
        { kind: "mkdir", path: "a/sub" },
      ],
      ["delete a a/old", "delete a/sub a/sub/old"],
    ],
    [
      "moved to where another one was",
      [
        { kind: "remove", path: "a" },
        { kind: "rename", path: "a", other: "b" },
      ],
      ["changed a a/in-b", "delete a a/old", "delete a a/sub", "delete  b"],
    ],
  ] as const)("finds what is gone from a directory that was %s", async (_, steps, expected) => {
    using fixture = new LayerFixture();
    for (const path of ["a/old", "a/sub/old", "b/in-b"])
      mkdirSync(join(fixture.make("base"), path), { recursive: true });
    const upper = fixture.overlay("upper", "base");
    const redirecting = { ...upper, options: [...upper.options, "redirect_dir=on"] };
    await commit(
      redirecting,
      steps.map((one) => ({ other: "", ...one })),
    );
    const lower = { ...fixture.bind("base"), options: ["rbind", "ro"] };
    await using compared = await openComparedTrees([lower], [redirecting], { temporaryDirectory: fixture.directory });
    const { trees } = compared;
    expect(trees.top).toBeDefined();
    expect(
      found(trees)
        .filter((line) => !line.startsWith("changed  "))
        .sort(),
    ).toEqual([...expected].sort());
    expect(found(trees)).toEqual(found({ ...trees, top: undefined }));
  });

  it("does not look at directories that the upper one does not have", async () => {
    using fixture = new LayerFixture();
    for (const name of NAMES) mkdirSync(join(fixture.make("base"), name, "deep"), { recursive: true });
    for (const name of NAMES) writeFileSync(join(fixture.make("base"), name, "deep", "file"), "");
    const upper = fixture.overlay("upper", "base");
    await commit(upper, [{ kind: "write", path: "b/new", other: "x" }]);
    const lower = { ...fixture.bind("base"), options: ["rbind", "ro"] };
    await using compared = await openComparedTrees([lower], [upper], { temporaryDirectory: fixture.directory });
    expect(readdirSync(fixture.make("upper"))).toEqual(["b"]);
    expect(found(compared.trees)).toEqual(["changed b b/new"]);
    // Of a lower tree that has something else in `b/deep`, only what the upper directory has is held against it.
    mkdirSync(join(fixture.make("elsewhere"), "b/deep/other"), { recursive: true });
    expect(found({ ...compared.trees, lower: fixture.make("elsewhere") })).toEqual(["changed b b/new"]);
    expect(found({ ...compared.trees, lower: fixture.make("elsewhere"), top: undefined })).toContain(
      "delete b/deep b/deep/other",
    );
  });

  it.each([
    ["another parent", ["bind", "other"], []],
    ["options that change what is seen", ["bind", "base"], ["index=on"]],
  ] as const)("walks everything where the upper directory says too little: %s", async (_, [type, lower], options) => {
    using fixture = new LayerFixture();
    fixture.make("base");
    const upper = fixture.overlay("upper", "base");
    const below: Mount = { type, source: fixture.make(lower), target: "", options: ["rbind"] };
    const above = { ...upper, options: [...upper.options, ...options] };
    await using compared = await openComparedTrees([below], [above], { temporaryDirectory: fixture.directory });
    expect(compared.trees.top).toBeUndefined();
  });
});
