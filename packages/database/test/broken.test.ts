import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";

import { Code } from "@berth/errors";
import { describe, expect, it } from "vitest";

import { temporaryDirectory } from "./temporary-directory.ts";

describe("Database after a commit that failed for another reason than a full disk", () => {
  it("calls fatal once and takes no more updates; what was committed can be read", { timeout: 30_000 }, async () => {
    await using directory = await temporaryDirectory();
    const program = [process.execPath, "--conditions=@berth/source", join(import.meta.dirname, "broken-child.ts")];
    const limited = ["--fsize=1048576", ...program, `${directory.path}/file.mdb`];
    const { stdout } = await promisify(execFile)("prlimit", limited);
    expect(JSON.parse(stdout.slice(stdout.indexOf("{")))).toEqual({
      fatal: 1,
      codes: [0, Code.Unavailable],
      first: true,
    });
  });
});
