import type { Mount, MountHandler } from "@berth/core/mount";
import { unimplemented } from "@berth/errors";
import { expect, it } from "vitest";

import { planActivation } from "./plan-activation.ts";

const handler: MountHandler = {
  mount: () => Promise.reject(unimplemented("not mounted here")),
  unmount: async () => {},
  isMounted: async () => false,
};
const handlers = new Map([["erofs", handler]]);

function plan(types: string, allowed = "", temporary = false) {
  const mounts = types.split(" ").map((type): Mount => ({ type, source: "", target: "", options: [] }));
  const allowMountTypes = allowed.split(" ").filter((type) => type !== "");
  return planActivation(mounts, { handlers, temporary, allowMountTypes });
}

it.each([
  ["bind", "", undefined],
  ["foo/bind", "", undefined],
  ["foo/format/bind", "", undefined],
  ["erofs", "", [1, undefined, 0]],
  ["erofs bind", "", [1, "bind", 0]],
  ["bind erofs bind bind", "", [2, "bind", 1]],
  ["erofs erofs format/overlay", "", [2, "overlay", 0]],
  ["bind format/overlay bind", "", [1, "overlay", 1]],
  ["format/bind", "", [0, "bind", 0]],
  ["format/erofs", "", [1, undefined, 0]],
  ["mkfs/ext4 format/mkdir/bind", "", [1, "bind", 0]],
  ["format/foo/bind", "", [0, "foo/bind", 0]],
  // left to the caller
  ["erofs erofs", "erofs", undefined],
  ["erofs format/overlay", "erofs", [1, "overlay", 0]],
  ["erofs format/overlay", "format/*", [1, "overlay", 0]],
  ["erofs format/overlay", "erofs format/*", undefined],
  ["erofs format/overlay", "erofs format/overlay", undefined],
  ["erofs format/mkdir/overlay", "erofs format/*", [1, "overlay", 0]],
  ["erofs format/mkdir/overlay", "erofs format/* mkdir/*", undefined],
  ["bind erofs", "bind", [2, undefined, 0]],
])("planActivation(%j) but for %j makes, transforms and leaves %j", (types, allowed, expected) => {
  const found = plan(types, allowed);
  expect(found && [found.made.length, found.first?.type, found.rest.length]).toEqual(expected);
});

it("planActivation makes everything of a temporary activation, whatever the caller could do", () => {
  expect(plan("bind foo/bind", "", true)?.made.map(({ type }) => type)).toEqual(["bind", "foo/bind"]);
  const allowed = plan("erofs format/overlay", "erofs format/*", true);
  expect(allowed?.made.map((each) => [each.type, each.transformations, each.handler])).toEqual([
    ["erofs", [], handler],
    ["overlay", ["format"], undefined],
  ]);
});
