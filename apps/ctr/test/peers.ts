import { writeFile } from "node:fs/promises";
import { join } from "node:path";

import type { DaemonOptions, PeerDaemon, ProgramOptions, ProgramResult, TemporaryDirectory } from "@berth/testing";
import { busyboxImage, launcher, runProgram, startBerthd, startContainerd, temporaryDirectory } from "@berth/testing";

export { BUSYBOX_IMAGE } from "@berth/testing";

/** A daemon with the busybox image in it, and our ctr to call it with. */
export interface Bench extends AsyncDisposable {
  readonly daemon: PeerDaemon;
  readonly directory: TemporaryDirectory;
  /** The archive that was imported. */
  readonly archive: string;
  /** This runs our ctr on the daemon. */
  ctr(args: readonly string[], options?: ProgramOptions): Promise<ProgramResult>;
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
  const { code, stderr } = await ctr(["images", "import", archive]);
  if (code !== 0) throw new Error(`import failed: ${stderr}`);
  const owned = stack.move();
  return { daemon, directory, archive, ctr, command, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}
