import { writeFile } from "node:fs/promises";
import { join } from "node:path";

import type { DaemonOptions, PeerDaemon, ProgramOptions, ProgramResult, TemporaryDirectory } from "@berth/testing";
import { busyboxImage, launcher, runProgram, startBerthd, startContainerd, temporaryDirectory } from "@berth/testing";
import { expect } from "vitest";

export { BUSYBOX_IMAGE } from "@berth/testing";

const LIMIT = { timeoutMs: 60_000 };

/** A daemon with the busybox image in it, and our ctr to call it with. */
export interface Bench extends AsyncDisposable {
  readonly daemon: PeerDaemon;
  readonly directory: TemporaryDirectory;
  /** The archive that was imported. */
  readonly archive: string;
  /** This runs our ctr on the daemon. */
  ctr(args: readonly string[], options?: ProgramOptions): Promise<ProgramResult>;
  /** The same, which must succeed and say nothing on standard error; returns what it printed. */
  say(...args: readonly string[]): Promise<string>;
  /** The same, which must fail with one line on standard error; returns that. */
  fail(...args: readonly string[]): Promise<string>;
  /** The command line of the same, to spawn it otherwise. */
  command(args: readonly string[]): readonly [string, ...string[]];
}

/** This starts a daemon and imports busybox with our own ctr. */
export async function startBench(kind: "berthd" | "containerd", options?: DaemonOptions): Promise<Bench> {
  await using stack = new AsyncDisposableStack();
  const directory = stack.use(await temporaryDirectory("ctr"));
  const archive = join(directory.path, "busybox.tar");
  await writeFile(archive, (await busyboxImage()).archive);
  const daemon = stack.use(await (kind === "berthd" ? startBerthd(options) : startContainerd(options)));
  const command = (args: readonly string[]): readonly [string, ...string[]] => [
    launcher("ctr"),
    "--address",
    daemon.address,
    ...args,
  ];
  const ctr = (args: readonly string[], options?: ProgramOptions): Promise<ProgramResult> => {
    const [program, ...rest] = command(args);
    return runProgram(program, rest, options);
  };
  const say = async (...args: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await ctr(args, LIMIT);
    expect({ args, code, stderr }).toEqual({ args, code: 0, stderr: "" });
    return stdout;
  };
  const fail = async (...args: readonly string[]): Promise<string> => {
    const { code, stderr } = await ctr(args, LIMIT);
    expect({ args, code }).toEqual({ args, code: 1 });
    expect(stderr).toMatch(/^ctr: [^\n]+\n$/);
    return stderr;
  };
  const { code, stderr } = await ctr(["images", "import", archive]);
  if (code !== 0) throw new Error(`import failed: ${stderr}`);
  const owned = stack.move();
  return { daemon, directory, archive, ctr, say, fail, command, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}
