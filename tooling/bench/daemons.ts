import { glob, readFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import type { PeerDaemon } from "@berth/testing";
import {
  BUSYBOX_IMAGE,
  busyboxImage,
  debianTool,
  startBerthd,
  startContainerd,
  temporaryDirectory,
} from "@berth/testing";

import type { Side, Sides } from "./figure.ts";
import { mountFreshDisk, mountMemory } from "./mounts.ts";
import { mustRun } from "./must-run.ts";
import { processesWithArgument } from "./processes.ts";

const START = { berth: startBerthd, containerd: startContainerd } as const;
const SHIM_EXIT_MS = 3000;

/** A daemon whose root is a disk of its own. */
export interface MeasuredDaemon extends AsyncDisposable {
  readonly daemon: PeerDaemon;
  readonly directory: string;
  /** This runs Debian's Go `ctr` on it. @throws Error - it failed */
  ctr(args: readonly string[], input?: Uint8Array): Promise<string>;
}

/** This starts a daemon with its root on a freshly made disk and its state in memory. Nothing of it is left when it is disposed. */
export async function startMeasured(side: Side): Promise<MeasuredDaemon> {
  await using undo = new AsyncDisposableStack();
  const directory = undo.use(await temporaryDirectory("bench")).path;
  const disk = undo.use(await mountFreshDisk(directory, side));
  undo.use(await mountMemory(join(disk.path, "state")));
  undo.defer(() => endLeftovers(disk.path));
  const daemon = undo.use(await START[side]({ directory: disk.path }));
  const owned = undo.move();
  return {
    daemon,
    directory: disk.path,
    ctr: (args, input) =>
      mustRun(debianTool("ctr"), ["--address", daemon.address, ...args], {
        timeoutMs: 300_000,
        ...(input && { input }),
      }),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** This starts both daemons and gives both an image of busybox, {@link BUSYBOX_IMAGE}. */
export async function startBoth(): Promise<Sides<MeasuredDaemon> & AsyncDisposable> {
  await using undo = new AsyncDisposableStack();
  const berth = undo.use(await startMeasured("berth"));
  const containerd = undo.use(await startMeasured("containerd"));
  const { archive } = await busyboxImage(BUSYBOX_IMAGE);
  for (const side of [berth, containerd]) await side.ctr(["image", "import", "-"], archive);
  const owned = undo.move();
  return { berth, containerd, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** This returns the shims that a daemon has started. */
export async function shimsOf({ daemon }: MeasuredDaemon): Promise<number[]> {
  return (await processesWithArgument(daemon.address)).filter((pid) => pid !== daemon.pid);
}

/** A daemon that died could not end its containers and shims; they would hold the disk. */
async function endLeftovers(directory: string): Promise<void> {
  const started = Date.now();
  while ((await processesWithArgument(directory)).length > 0 && Date.now() - started < SHIM_EXIT_MS) await sleep(100);
  const containers = await Array.fromAsync(glob(join(directory, "state", "*.task", "*", "*", "init.pid")));
  for (const file of containers) kill(Number(await readFile(file, "utf8")));
  for (const pid of await processesWithArgument(directory)) kill(pid);
}

function kill(pid: number): void {
  try {
    if (pid > 1) process.kill(pid, "SIGKILL");
  } catch {
    // Gone already, which is what was wanted.
  }
}
