import { writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";

import { debianLibraries, debianTool, launcher, runProgram } from "@berth/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import type { Bench } from "./peers.ts";
import { BUSYBOX_IMAGE, startBench } from "./peers.ts";

const TIMEOUT = { timeout: 90_000 };
/** Whoever completes a line waits a second for a daemon, which on a busy machine is too short. */
const PATIENT = { timeout: 60_000 };

describe("ctr completion", () => {
  let bench: Bench;

  beforeAll(async () => {
    bench = await startBench("berthd");
  }, 120_000);

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

  /** With our ctr first, and with what Debian's shells need that are not installed. */
  const shellEnv = (): NodeJS.ProcessEnv => ({
    ...process.env,
    CONTAINERD_ADDRESS: bench.daemon.address,
    HOME: bench.directory.path,
    LD_LIBRARY_PATH: debianLibraries(),
    PATH: `${dirname(launcher("ctr"))}:${process.env["PATH"]}`,
  });

  it("completes commands, flags and names in bash", TIMEOUT, async () => {
    expect(await inBash("snap")).toEqual(["snapshots"]);
    expect(await inBash("images check --q")).toEqual(["--quiet"]);
    await expect.poll(() => inBash("images rm example"), PATIENT).toEqual([BUSYBOX_IMAGE]);
    await expect.poll(() => inBash("images mount exam"), PATIENT).toEqual([BUSYBOX_IMAGE]);
    await expect.poll(() => inBash("install exam"), PATIENT).toEqual([BUSYBOX_IMAGE]);
    expect(await inBash("content prune references sha")).toEqual([]);
    await expect.poll(() => inBash("run --rm exam"), PATIENT).toEqual([BUSYBOX_IMAGE]);
    expect(await inBash(`run ${BUSYBOX_IMAGE} x`)).toEqual([]);
  });

  it("leaves out names in bash that its line would not keep as they are", TIMEOUT, async () => {
    const names = ["safe/a:1", "safe/$(id)", "safe/b;id", "safe/c d", "safe/`id`", "safe/'", "safe/z:1"];
    for (const name of names) {
      const tag = ["images", "tag", "--skip-reference-check", BUSYBOX_IMAGE, name];
      expect(await bench.ctr(tag)).toMatchObject({ code: 0, stderr: "" });
    }
    await expect.poll(() => inBash("images rm safe/"), PATIENT).toEqual(["safe/a:1", "safe/z:1"]);
  });

  it("completes the same in fish", TIMEOUT, async () => {
    const { stdout: script } = await bench.ctr(["completion", "fish"]);
    const file = join(bench.directory.path, "complete.fish");
    const lines = [
      "snap",
      "images check --q",
      "images rm exam",
      "-n def",
      "completion ",
      "snapshots --snapshotter nat",
    ];
    const asked = lines.map((line) => `complete -C 'ctr ${line}'; echo ==`).join("\n");
    await writeFile(file, `${script}\n${asked}\n`);
    const found = async (): Promise<readonly (readonly string[])[]> => {
      const { code, stdout, stderr } = await runProgram(debianTool("fish"), ["--no-config", file], { env: shellEnv() });
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      const answers = stdout.split("==\n").slice(0, -1);
      return answers.map((each) => each.replaceAll(/\t.*/g, "").trim().split("\n"));
    };
    await expect
      .poll(found, PATIENT)
      .toEqual([["snapshots"], ["--quiet"], [BUSYBOX_IMAGE], ["default"], ["bash", "fish", "zsh"], ["native"]]);
  });

  it("completes the same in zsh", TIMEOUT, async () => {
    const { stdout: script } = await bench.ctr(["completion", "zsh"]);
    const file = join(bench.directory.path, "complete.zsh");
    // Where zsh's completion would be told what there is.
    const modules = `${dirname(debianTool("zsh"))}/../usr/lib/*/zsh/*(/)`;
    const system = [
      `module_path=(${modules})`,
      'compdef() { print "$@" }',
      '_describe() { print -r -- "${(P)2[@]}" }',
      "_files() { print files }",
    ];
    const lines = [
      ["snap"],
      ["images", "check", "--q"],
      ["images", "rm", "exam"],
      ["-n", "def"],
      ["images", "import", "/"],
    ];
    const asked = lines.map((words) => `words=(ctr ${words.join(" ")}); CURRENT=${words.length + 1}; _ctr`);
    await writeFile(file, [...system, script, ...asked].join("\n"));
    const found = async (): Promise<readonly string[]> => {
      const { code, stdout, stderr } = await runProgram(debianTool("zsh"), ["-f", file], { env: shellEnv() });
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      return stdout.trim().split("\n");
    };
    await expect.poll(found, PATIENT).toEqual([
      "_ctr ctr",
      "snapshots:Manage snapshots: the layers of file systems",
      "--quiet:print only the names of images that are complete",
      // A colon would end the name.
      BUSYBOX_IMAGE.replace(":", String.raw`\:`),
      "default",
      "files",
    ]);
  });

  it("names the shells that there are", async () => {
    expect(await bench.ctr(["completion", "csh"])).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("bash, zsh and fish"),
    });
  });
});
