import { Code, codeOf } from "@berth/errors";
import { describe, expect, it } from "vitest";

import { mappedRoot } from "./id-mapping.ts";

const labels = (uids?: string, gids?: string): ReadonlyMap<string, string> =>
  new Map([
    ...(uids === undefined ? [] : [["containerd.io/snapshot/uidmapping", uids] as const]),
    ...(gids === undefined ? [] : [["containerd.io/snapshot/gidmapping", gids] as const]),
  ]);

describe("mappedRoot", () => {
  it.each([
    [labels(), undefined],
    [labels("0:1000:65536", "0:2000:1"), { uid: 1000, gid: 2000 }],
    [labels("5:1:5,0:1000:5", "0:0:1"), { uid: 1000, gid: 0 }],
  ])("of %j is %j", (given, expected) => {
    expect(mappedRoot(given)).toEqual(expected);
  });

  it.each([
    labels("0:1000:65536"),
    labels(undefined, "0:1000:65536"),
    labels("", "0:0:1"),
    labels("1:1000:65536", "0:0:1"),
    labels("0:1000:0", "0:0:1"),
    labels("0:-1:5", "0:0:1"),
    labels("0:1:5;", "0:0:1"),
    labels("0:1:99999999999", "0:0:1"),
  ])("refuses %j", (given) => {
    let thrown: unknown;
    try {
      mappedRoot(given);
    } catch (error) {
      thrown = error;
    }
    expect(codeOf(thrown)).toBe(Code.InvalidArgument);
  });
});
