import { Code, codeOf } from "@berth/errors";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { generateSpec, parseGroup, parsePasswd, resolveUser, withAdditionalGids, withUser } from "./runtime-spec.ts";

const files = {
  passwd:
    "root:x:0:0:root:/root:/bin/sh\n# comment\n\nbad:x:abc:0::/:\nhuge:x:4294967296:1::/:\n guest:x:405:100::/:/bin/sh \n",
  group: "root:x:0:guest,root\nwheel:x:10:root,guest\nusers:x:100:guest\nbad:x::guest\nguest:x:500:guest\n",
};

describe("resolveUser", () => {
  it.each([
    ["root", 0, 0],
    ["guest", 405, 100],
    ["405", 405, 100],
    ["7", 7, 0],
    ["7:8", 7, 8],
    ["guest:wheel", 405, 10],
    ["guest:8", 405, 8],
    ["405:wheel", 405, 10],
  ])("resolves %s to %d:%d", (user, uid, gid) => {
    expect(resolveUser(user, files)).toEqual({ uid, gid, additionalGids: [gid] });
  });

  it.each([
    ["", Code.InvalidArgument],
    [":", Code.InvalidArgument],
    ["root:", Code.InvalidArgument],
    ["a:b:c", Code.InvalidArgument],
    ["-1", Code.InvalidArgument],
    ["2147483648", Code.InvalidArgument],
    ["0:99999999999999999999", Code.InvalidArgument],
    ["nobody", Code.NotFound],
    ["bad", Code.NotFound],
    ["huge", Code.NotFound],
    ["root:nogroup", Code.NotFound],
  ])("refuses %j", (user, code) => {
    let error: unknown;
    try {
      resolveUser(user, files);
    } catch (thrown) {
      error = thrown;
    }
    expect(codeOf(error)).toBe(code);
  });

  it("never gives an id that was not asked for to a number", () => {
    fc.assert(
      fc.property(fc.nat(2 ** 31 - 1), fc.nat(2 ** 31 - 1), fc.string(), (uid, gid, passwd) => {
        expect(resolveUser(`${uid}:${gid}`, {})).toEqual({ uid, gid, additionalGids: [gid] });
        expect(resolveUser(String(uid), { passwd }).uid).toBe(uid);
      }),
    );
  });
});

describe("parsePasswd and parseGroup", () => {
  it("take any text, and no id out of range", () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom("a", ":", "0", "9", "\n", ",", "-", " ", "#") }), (text) => {
        for (const { uid, gid } of parsePasswd(text)) expect(Math.max(uid, gid)).toBeLessThan(2 ** 31);
        for (const { name, gid } of parseGroup(text)) {
          expect(name).not.toBe("");
          expect(gid).toBeLessThan(2 ** 31);
        }
      }),
    );
  });
});

describe("withAdditionalGids", () => {
  it.each([
    ["guest", [0, 10, 100]],
    ["405", [0, 10, 100]],
    ["root", [10]],
    ["12345", [100]],
  ])("of %s", (user, gids) => {
    const spec = generateSpec({
      namespace: "n",
      id: "i",
      options: [withUser("guest", files), withAdditionalGids(user, files)],
    });
    expect(spec.process?.user.additionalGids?.toSorted()).toEqual([...new Set([...gids, 100])].toSorted());
  });
});
