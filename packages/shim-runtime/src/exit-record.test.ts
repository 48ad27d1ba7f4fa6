import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { Code, codeOf } from "@berth/errors";
import { temporaryDirectory, type TemporaryDirectory } from "@berth/testing";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

import { findExitRecord, removeExitRecord, writeExitRecord } from "./exit-record.ts";

describe("exit records", () => {
  let directory: TemporaryDirectory;
  beforeEach(async () => {
    directory = await temporaryDirectory("exits");
  });
  afterEach(() => directory[Symbol.asyncDispose]());
  const record = { id: "c1", pid: 12, exitStatus: 137, exitedAt: new Date("2026-01-31T12:00:00.123Z") };

  it.each(["", "e1", "init"])("of %j come back as they were, beside one another", (execId) => {
    writeExitRecord(directory.path, { ...record, execId });
    expect(findExitRecord(directory.path, execId)).toEqual({ ...record, execId });
    expect(findExitRecord(directory.path, execId === "" ? "init" : "")).toBeUndefined();
    expect(readdirSync(join(directory.path, "exits"))).toHaveLength(1);
  });

  it("are removed with what the daemon noted beside them, and only those", () => {
    for (const execId of ["", "e1", "e2"]) writeExitRecord(directory.path, { ...record, execId });
    writeFileSync(join(directory.path, "exits", "exec.e1.sent"), "");
    removeExitRecord(directory.path, "e1");
    removeExitRecord(directory.path, "e1");
    expect(readdirSync(join(directory.path, "exits")).sort()).toEqual(["exec.e2.json", "init.json"]);
  });

  it("need no bundle", () => {
    expect(() => writeExitRecord(join(directory.path, "gone"), { ...record, execId: "" })).not.toThrow();
    expect(findExitRecord(join(directory.path, "gone"))).toBeUndefined();
  });

  it.each(["", "{", "[]", "null", '{"id":"c1","pid":"x"}', '{"id":"c1","pid":1,"exitStatus":1,"exitedAt":"never"}'])(
    "that read %j are none",
    (text) => {
      mkdirSync(join(directory.path, "exits"));
      writeFileSync(join(directory.path, "exits", "init.json"), text);
      expect(findExitRecord(directory.path)).toBeUndefined();
    },
  );

  it("are not written outside of the bundle", () => {
    let code: Code | undefined;
    try {
      writeExitRecord(directory.path, { ...record, execId: "../x" });
    } catch (error) {
      code = codeOf(error);
    }
    expect(code).toBe(Code.InvalidArgument);
  });
});
