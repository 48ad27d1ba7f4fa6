import { closeSync, openSync, readFileSync, write } from "node:fs";
import { join } from "node:path";

import { cgroupOf } from "@berth/linux/cgroups";

/** Where this process was when it was last looked at. */
let own: { readonly text: string; readonly directory: string | undefined } | undefined;
let underWay: Promise<boolean> | undefined;

/**
 * This has the kernel begin at once what the next process that is moved into a cgroup would wait for.
 *
 * Whoever moves one takes a lock that all forks and exits share. The first of a while waits for an RCU grace period, 5 to 16 ms; then, for
 * about as long, nobody does. A runtime comes to it after some milliseconds of its own, so that the one time passes during the other. Here
 * the lock is taken by moving this process to where it is. Nobody needs to wait for the answer, which is whether that was done.
 */
export function awaitCgroupMoves(): Promise<boolean> {
  underWay ??= moveToOwnPlace().finally(() => (underWay = undefined));
  return underWay;
}

async function moveToOwnPlace(): Promise<boolean> {
  try {
    const directory = ownDirectory();
    if (directory === undefined) return false;
    await writeSelf(join(directory, "cgroup.procs"));
    return true;
  } catch {
    // not permitted here, or no cgroups: the runtime waits itself
    return false;
  }
}

/** Looked up anew when somebody has moved this process: it must not be moved back. */
function ownDirectory(): string | undefined {
  const text = readFileSync("/proc/self/cgroup", "utf8");
  if (own?.text !== text) {
    const { directories } = cgroupOf("self");
    own = { text, directory: directories.get("") ?? [...directories.values()][0] };
  }
  return own.directory;
}

/** The write waits in a thread of the pool: this one has other things to do. */
function writeSelf(path: string): Promise<void> {
  const file = openSync(path, "r+");
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  // 0 is the process that writes
  write(file, "0", (error) => {
    closeSync(file);
    if (error) reject(error);
    else resolve();
  });
  return promise;
}
