import { Code, codeOf } from "@berth/errors";
import { expect, it } from "vitest";

import { parseIdMapping } from "./id-mapping.ts";

const { signal } = new AbortController();

it("parseIdMapping takes all ids that there are", () => {
  const mapping = parseIdMapping({ uidmap: ["0:0:4294967295"], gidmap: ["0x1:0o17:1", "0:4294967294:1"] }, signal);
  expect(mapping?.uids).toEqual([{ containerID: 0, hostID: 0, size: 4_294_967_295 }]);
  expect(mapping?.gids[0]).toEqual({ containerID: 1, hostID: 15, size: 1 });
});

it.each(["0:4294967295:1", "0:0:4294967296", "1:0:4294967295", "0:0:0", "0:0", "0:0:1:1", "-1:0:1", "0:x:1"])(
  "parseIdMapping refuses %s",
  (text) => {
    let error: unknown;
    try {
      parseIdMapping({ uidmap: [text], gidmap: ["0:0:1"] }, signal);
    } catch (thrown) {
      error = thrown;
    }
    expect(codeOf(error)).toBe(Code.InvalidArgument);
  },
);
