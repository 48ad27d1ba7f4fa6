import { mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Code, codeOf } from "@berth/errors";
import fc from "fast-check";
import { describe, expect, it, onTestFinished } from "vitest";

import { parseBlockIoClasses, readBlockIoClass } from "./block-io.ts";

async function classFile(text: string): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "berth-block-io-"));
  onTestFinished(() => rm(directory, { recursive: true }));
  await writeFile(join(directory, "classes.yaml"), text);
  return join(directory, "classes.yaml");
}

describe("readBlockIoClass", () => {
  it.each([
    ["80", { weight: 80 }],
    ["'80'", { weight: 80 }],
    ["1e2", { weight: 100 }],
    ["0.1k", { weight: 100 }],
    ["10.5", { weight: 11 }],
  ])("reads the weight %s", async (text, expected) => {
    const path = await classFile(`Classes:\n  slow:\n    - Weight: ${text}\n`);
    expect(await readBlockIoClass(path, "slow")).toEqual({ blockIo: expected, problems: [] });
  });

  it("tells of devices that are none, and goes on without them", async () => {
    const path = await classFile(`
classes:
  slow:
    - Weight: 20
    - Devices: [/dev/null, /dev/none-*]
      ThrottleReadBps: 10Mi
`);
    const { blockIo, problems } = await readBlockIoClass(path, "slow");
    expect(blockIo).toEqual({ weight: 20 });
    expect(problems).toHaveLength(2);
  });

  it("tells of a link that leads nowhere", async () => {
    const path = await classFile("");
    const link = join(path, "..", "stale");
    await symlink("gone", link);
    await writeFile(path, `classes: {slow: [{Devices: ["${link}"], ThrottleReadBps: 1}]}`);
    expect(await readBlockIoClass(path, "slow")).toEqual({
      blockIo: {},
      problems: [expect.stringMatching(/stale leads to/)],
    });
  });

  it("refuses what is not there, or malformed", async () => {
    const codeOfRead = async (path: string): Promise<Code> =>
      codeOf(await readBlockIoClass(path, "slow").catch((error: unknown) => error));
    expect(await codeOfRead("/nowhere")).toBe(Code.NotFound);
    expect(await codeOfRead(await classFile("Classes: {other: []}"))).toBe(Code.NotFound);
    expect(await codeOfRead(await classFile(""))).toBe(Code.NotFound);
    expect(await codeOfRead(await classFile("Classes: [\n"))).toBe(Code.InvalidArgument);
  });
});

describe("parseBlockIoClasses", () => {
  it.each([
    [[]],
    ["text"],
    [{ Classes: [] }],
    [{ Other: {} }],
    [{ Classes: { slow: {} } }],
    [{ Classes: { slow: [1] } }],
    [{ Classes: { slow: [{ Weight: 9 }] } }],
    [{ Classes: { slow: [{ Weight: 1001 }] } }],
    [{ Classes: { slow: [{ Weight: "much" }] } }],
    [{ Classes: { slow: [{ ThrottleReadBps: 1 }] } }],
    [{ Classes: { slow: [{ Devices: "/dev/sda" }] } }],
    [{ Classes: { slow: [{ Devices: ["/dev/sda"], ThrottleReadBps: "9E99" }] } }],
    [{ Classes: { slow: [{ Devices: ["/dev/sda"], Throttle: 1 }] } }],
  ])("refuses %j", (value) => {
    expect(() => parseBlockIoClasses(value)).toThrow(expect.objectContaining({ code: Code.InvalidArgument }));
  });

  it("reads or refuses anything", () => {
    fc.assert(
      fc.property(fc.oneof(fc.jsonValue(), fc.record({ Classes: fc.jsonValue() })), (value) => {
        try {
          parseBlockIoClasses(value);
        } catch (error) {
          expect(codeOf(error)).toBe(Code.InvalidArgument);
        }
      }),
    );
  });
});
