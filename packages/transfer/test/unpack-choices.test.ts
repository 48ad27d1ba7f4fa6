import { codeName, codeOf } from "@berth/errors";
import { hostPlatform, parsePlatform } from "@berth/oci";
import { describe, expect, it } from "vitest";

import { unpackChoices, unpackConfig } from "../src/unpack-choices.ts";

const loaded = { snapshotters: new Set(["overlayfs", "native"]), differs: new Set(["walking", "other"]) };
const choicesOf = (...entries: readonly unknown[]) => unpackChoices(unpackConfig.parse(entries), loaded);

describe("unpack_config", () => {
  it("has what an entry leaves open, and for none what there is", () => {
    expect(choicesOf({})).toEqual([
      { platform: hostPlatform(), snapshotter: "overlayfs", differ: "walking", configType: "" },
    ]);
    expect(choicesOf({ platform: "linux/arm64", snapshotter: "native", differ: "", config_type: "a/b" })).toEqual([
      { platform: parsePlatform("linux/arm64"), snapshotter: "native", differ: "walking", configType: "a/b" },
    ]);
    expect(choicesOf().map(({ snapshotter }) => snapshotter)).toEqual(["overlayfs", "erofs"]);
  });

  it.each([
    ["snapshotter", { snapshotter: "absent" }],
    ["differ", { differ: "absent" }],
  ])("names a %s that is not loaded: an error, unless it is optional", (_what, entry) => {
    const thrown = (): string => {
      try {
        choicesOf({}, entry);
        return "ok";
      } catch (error) {
        return codeName(codeOf(error));
      }
    };
    expect(thrown()).toBe("not_found");
    expect(choicesOf({ ...entry, optional: true }, { snapshotter: "native" })).toMatchObject([
      { snapshotter: "native" },
    ]);
  });
});
