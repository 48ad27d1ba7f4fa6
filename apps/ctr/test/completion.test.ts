import { writeFile } from "node:fs/promises";
import { join } from "node:path";

import { runProgram } from "@berth/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import type { Bench } from "./peers.ts";
import { BUSYBOX_IMAGE, startBench } from "./peers.ts";

describe("ctr completion", () => {
  let bench: Bench;

  beforeAll(async () => {
    bench = await startBench("berthd");
  });

  afterAll(async () => {
    await bench[Symbol.asyncDispose]();
  });

  const inBash = async (line: string): Promise<string[]> => {
    const { stdout: script } = await bench.ctr(["completion", "bash"]);
    const [ctr] = bench.command([]);
    const file = join(bench.directory.path, "complete.sh");
    const words = line.split(" ");
    const quoted = words.map((word) => `'${word}'`).join(" ");
    const test = `${script}\nCOMP_WORDS=('${ctr}' ${quoted}); COMP_CWORD=${words.length}; _ctr_complete; printf '%s\\n' "\${COMPREPLY[@]}"\n`;
    await writeFile(file, test);
    const env = { CONTAINERD_ADDRESS: bench.daemon.address };
    const { code, stdout, stderr } = await runProgram("bash", ["--norc", file], { env });
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    return stdout.split("\n").filter((each) => each !== "");
  };

  it("completes commands, flags and names in bash", async () => {
    expect(await inBash("snap")).toEqual(["snapshots"]);
    expect(await inBash("images check --q")).toEqual(["--quiet"]);
    expect(await inBash("images rm example")).toEqual([BUSYBOX_IMAGE]);
    expect(await inBash("images mount exam")).toEqual([BUSYBOX_IMAGE]);
    expect(await inBash("install exam")).toEqual([BUSYBOX_IMAGE]);
    expect(await inBash("content prune references sha")).toEqual([]);
    expect(await inBash("run --rm exam")).toEqual([BUSYBOX_IMAGE]);
    expect(await inBash(`run ${BUSYBOX_IMAGE} x`)).toEqual([]);
  });

  it.each(["zsh", "fish"])("prints a script for %s", async (shell) => {
    const { code, stdout } = await bench.ctr(["completion", shell]);
    expect({ code, stdout }).toMatchObject({ code: 0, stdout: expect.stringContaining("__complete") });
  });

  it("names the shells that there are", async () => {
    expect(await bench.ctr(["completion", "csh"])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("bash, zsh and fish"),
    });
  });
});
