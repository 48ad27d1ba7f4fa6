import { writeFileSync } from "node:fs";
import { join } from "node:path";

import { temporaryDirectory } from "@berth/testing";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { lastLogError, logSize, parseLastLogError } from "./runtime-log.ts";

const line = (level: string, msg: unknown): string => JSON.stringify({ level, msg, time: "2026-01-01T00:00:00Z" });

describe("parseLastLogError", () => {
  it.each([
    [[line("error", "first"), line("error", "second "), line("info", "later")], "second"],
    [[line("warning", "only")], undefined],
    [["", "{", "null", "[]", '"error"', line("error", 5), line("error", "good")], "good"],
    [[], undefined],
  ])("of %j", (lines, expected) => {
    expect(parseLastLogError(lines.join("\n"))).toBe(expected);
  });

  it("never throws", () => {
    fc.assert(fc.property(fc.string(), fc.json(), (text, json) => void parseLastLogError(`${text}\n${json}`)));
  });
});

describe("lastLogError", () => {
  it("sees only what came behind the offset", async () => {
    await using directory = await temporaryDirectory("log");
    const path = join(directory.path, "log.json");
    expect([logSize(path), lastLogError(path)]).toEqual([0, undefined]);
    writeFileSync(path, `${line("error", "old")}\n`);
    const offset = logSize(path);
    expect(lastLogError(path, offset)).toBeUndefined();
    writeFileSync(path, `${line("error", "new")}\n`, { flag: "a" });
    expect([lastLogError(path, offset), lastLogError(path)]).toEqual(["new", "new"]);
  });
});
