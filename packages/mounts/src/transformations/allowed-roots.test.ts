import { mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";

import { Code, codeOf } from "@berth/errors";
import { temporaryDirectory } from "@berth/testing";
import { expect, it } from "vitest";

import { AllowedRoots } from "./allowed-roots.ts";

function codeOfOpen(roots: AllowedRoots, path: string): Code | "open" {
  try {
    using place = roots.open(path);
    return place.name === "" ? Code.Unknown : "open";
  } catch (error) {
    return codeOf(error);
  }
}

it("AllowedRoots opens what lies below a root, and nothing beside it, above it or by way of a link", async () => {
  await using directory = await temporaryDirectory("roots");
  const root = join(directory.path, "root");
  mkdirSync(join(root, "a/b"), { recursive: true });
  mkdirSync(`${root}-beside`);
  symlinkSync("a", join(root, "near"));
  symlinkSync(directory.path, join(root, "far"));
  const roots = new AllowedRoots(["/nowhere", `${root}/`]);
  const open = (path: string) => codeOfOpen(roots, path.replace("ROOT", root));
  expect(["ROOT/x", "ROOT/a/b/x", "ROOT/near"].map(open)).toEqual(["open", "open", "open"]);
  const refused = ["ROOT-beside/x", "ROOT", "/x", "ROOT/near/x", "ROOT/far/x", "ROOT/missing/x", "/nowhere/x"];
  expect(refused.map(open)).toEqual(refused.map(() => Code.FailedPrecondition));
  const bad = ["ROOT/", "ROOT/../x", "ROOT/a/./x", "ROOT//x", "ROOT/x\0", "x", ""];
  expect(bad.map(open)).toEqual(bad.map(() => Code.InvalidArgument));
});

it("AllowedRoots follows links on the way to a root: they are the administrator's", async () => {
  await using directory = await temporaryDirectory("roots");
  mkdirSync(join(directory.path, "real/a"), { recursive: true });
  symlinkSync("real", join(directory.path, "root"));
  const roots = new AllowedRoots([join(directory.path, "root")]);
  expect(codeOfOpen(roots, join(directory.path, "root/a/x"))).toBe("open");
});
