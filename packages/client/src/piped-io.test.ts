import { chmod, open, readdir, readlink, writeFile } from "node:fs/promises";
import { join } from "node:path";

import { Code, codeOf } from "@berth/errors";
import { temporaryDirectory } from "@berth/testing";
import { afterEach, describe, expect, it, vi } from "vitest";

import { makePipedIo } from "./piped-io.ts";

const MORE_THAN_A_PIPE_HOLDS = new Uint8Array(1 << 20);

/** Descriptors of this process that lead into a directory. */
async function openIn(directory: string): Promise<readonly string[]> {
  const all = await Promise.all(
    (await readdir("/proc/self/fd")).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => "")),
  );
  return all.filter((path) => path.startsWith(directory));
}

describe("makePipedIo", () => {
  afterEach(() => vi.unstubAllEnvs());

  it.each([
    ["stderr", 'exec mkfifo -m 600 "$3"'],
    ["stdin", 'shift 3; exec mkfifo -m 600 "$@"'],
  ])("leaves nothing open and nothing behind when %s cannot be opened", async (_, script) => {
    await using tools = await temporaryDirectory("tools");
    await using pipes = await temporaryDirectory("pipes");
    await writeFile(join(tools.path, "mkfifo"), `#!/bin/sh\nPATH=\${PATH#*:}\n${script}\n`);
    await chmod(join(tools.path, "mkfifo"), 0o755);
    vi.stubEnv("PATH", `${tools.path}:${process.env["PATH"]}`);
    const stdin = script.startsWith("shift");
    const error = await makePipedIo({ directory: pipes.path, stdin }).catch((reason: unknown) => reason);
    expect(codeOf(error)).toBe(Code.NotFound);
    expect(await readdir(pipes.path)).toEqual([]);
    expect(await openIn(pipes.path)).toEqual([]);
  });

  it("a write that waits for room ends when the process does, and so does the end of input", async () => {
    await using pipes = await temporaryDirectory("pipes");
    await using io = await makePipedIo({ directory: pipes.path, stdin: true });
    const failure = io.write(MORE_THAN_A_PIPE_HOLDS).catch((reason: unknown) => reason);
    const ending = io.endInput();
    // Both wait by now.
    await new Promise((resolve) => setImmediate(resolve));
    io.ended();
    expect(codeOf(await failure)).toBe(Code.Unavailable);
    await ending;
    expect(codeOf(await io.write(new Uint8Array(1)).catch((reason: unknown) => reason))).toBe(Code.Unavailable);
    await io.endInput();
  });

  it("an output that no process has ever opened ends with the process, and one that is written to does not", async () => {
    await using pipes = await temporaryDirectory("pipes");
    await using io = await makePipedIo({ directory: pipes.path });
    let isDrained = false;
    const writer = await open(io.paths.stdout, "w");
    const drained = io.drained().then(() => (isDrained = true));
    for await (const _ of io.stderr);
    expect(isDrained).toBe(false);
    await writer.close();
    await drained;
  });

  it("a write and the end of input are given up when aborted", async () => {
    await using pipes = await temporaryDirectory("pipes");
    await using io = await makePipedIo({ directory: pipes.path, stdin: true });
    const abort = new AbortController();
    const { signal } = abort;
    const works = [io.write(MORE_THAN_A_PIPE_HOLDS, { signal }), io.endInput({ signal })];
    const ends = works.map((work) => work.catch((reason: unknown) => reason));
    await new Promise((resolve) => setImmediate(resolve));
    abort.abort();
    expect(await Promise.all(ends)).toEqual([signal.reason, signal.reason]);
  });

  it("disposing ends a write that waits, and closes and removes all", async () => {
    await using pipes = await temporaryDirectory("pipes");
    const io = await makePipedIo({ directory: pipes.path, stdin: true });
    const failure = io.write(MORE_THAN_A_PIPE_HOLDS).catch((reason: unknown) => reason);
    await io[Symbol.asyncDispose]();
    expect(codeOf(await failure)).toBe(Code.Unavailable);
    expect(await readdir(pipes.path)).toEqual([]);
    expect(await openIn(pipes.path)).toEqual([]);
  });
});
