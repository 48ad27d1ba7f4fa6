import { launcher, runProgram } from "@berth/testing";
import { describe, expect, it } from "vitest";

const LIMIT = { timeoutMs: 30_000 };
/** One that prints at once and one that prints at its end. */
const LINES = ["completion bash", "--help", "oci spec", "--version"];

/** The exit code of ctr, which a shell gives this standard output and error. */
const inShell = (script: string) => runProgram("bash", ["-c", script, "bash", launcher("ctr")], LIMIT);

describe.each(LINES)("output of ctr %s that cannot be written", (line) => {
  it("to a full disk is told", async () => {
    const { code, stderr } = await inShell(`"$1" ${line} >/dev/full`);
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: expect.stringMatching(/^ctr: [^\n]*(?:ENOSPC|no space)[^\n]*\n$/i),
    });
  });

  it("to a reader that has left ends it like a signal", async () => {
    // The pipe has no reader any more before ctr begins.
    const script = `exec 3> >(exec true); wait $!; "$1" ${line} >&3`;
    expect(await inShell(script)).toEqual({ code: 141, stdout: "", stderr: "" });
  });
});

it("a complaint that cannot be written leaves the exit code", async () => {
  expect((await inShell(`"$1" nothing 2>/dev/full`)).code).toBe(3);
});
