import { Code, codeOf } from "@berth/errors";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { formatMountFlag, generateSpec, parseMountFlag, withMounts } from "./runtime-spec.ts";

const failure = (action: () => unknown): Code | undefined => {
  try {
    action();
  } catch (error) {
    return codeOf(error);
  }
  return undefined;
};

describe("parseMountFlag", () => {
  it.each([
    [
      "type=bind,src=/a,dst=/b,options=rbind:ro",
      { type: "bind", source: "/a", destination: "/b", options: ["rbind", "ro"] },
    ],
    ["destination=/b,source=tmpfs,type=tmpfs", { type: "tmpfs", source: "tmpfs", destination: "/b" }],
    ['dst=/b,"options=upperdir=a,b:""q"""', { destination: "/b", options: ["upperdir=a,b", '"q"'] }],
    ["dst=/b,options=", { destination: "/b", options: [""] }],
    ["dst=/b,src=a=b", { destination: "/b", source: "a=b" }],
  ])("reads %s", (text, expected) => {
    expect(parseMountFlag(text)).toEqual(expected);
  });

  it.each([
    "",
    "dst",
    "dst=",
    "src=/a",
    "dst=/b,size=1",
    'dst=/b,"options=a',
    'dst=/b,"options=a"x',
    'dst=/b,options=a"b',
    "dst=/b,",
  ])("refuses %j", (text) => {
    expect(failure(() => parseMountFlag(text))).toBe(Code.InvalidArgument);
  });

  it("is the inverse of formatMountFlag", () => {
    const option = fc.string().filter((text) => !text.includes(":"));
    const mount = fc.record(
      {
        destination: fc.string({ minLength: 1 }),
        type: fc.string(),
        source: fc.string(),
        options: fc.array(option, { minLength: 1 }),
      },
      { requiredKeys: ["destination"] },
    );
    fc.assert(
      fc.property(mount, (value) => {
        expect(parseMountFlag(formatMountFlag(value))).toEqual(value);
      }),
    );
  });

  it("answers any text with a mount or with invalid_argument", () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom("d", "s", "t", "=", ",", '"', ":", "\n", "/") }), (text) => {
        expect([undefined, Code.InvalidArgument]).toContain(failure(() => parseMountFlag(`dst=/b,${text}`)));
      }),
    );
  });
});

describe("withMounts", () => {
  it("takes out mounts at the same place and adds the new ones last", () => {
    const spec = generateSpec({
      namespace: "n",
      id: "i",
      options: [withMounts([{ destination: "/run/", type: "bind" }])],
    });
    expect(spec.mounts?.map(({ destination }) => destination)).toEqual(
      ["/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/run", "/run/"].filter(
        (place) => place !== "/run",
      ),
    );
  });
});
