import { readdirSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { systemErrorCode } from "@berth/errors";

import { cgroupProcesses, cgroupTree, isGone } from "./cgroup-directories.ts";

/** Processes that have just ended may still be in a cgroup. */
const BUSY_PAUSES_MS = [1, 2, 4, 8, 16, 32];
/** A process may be making more of them while the first are killed. */
const KILL_ROUNDS = 20;

/**
 * This removes a cgroup whose processes have ended, with those that a container has made below its own.
 * @throws EBUSY - a process stays in one
 */
export async function removeCgroup(directory: string): Promise<void> {
  for (const pause of [...BUSY_PAUSES_MS, 0]) {
    try {
      rmdirSync(directory);
      return;
    } catch (error) {
      const code = systemErrorCode(error);
      if (code === "ENOENT") return;
      if (code !== "EBUSY" || pause === 0) throw error;
    }
    // only if it is busy: most have none below them
    for (const entry of readdirSync(directory, { withFileTypes: true })) {
      if (entry.isDirectory()) await removeCgroup(join(directory, entry.name));
    }
    await sleep(pause);
  }
}

/**
 * This kills whatever is in a cgroup, frozen or not, and removes it. The directories are its places in the hierarchies.
 * @throws EBUSY - a process does not end
 */
export async function killCgroup(directories: readonly string[]): Promise<void> {
  for (let round = 1; ; round++) {
    for (const directory of directories.flatMap(cgroupTree)) {
      killProcesses(directory);
      // the signal waits as long as its process is frozen
      thaw(directory);
    }
    try {
      for (const directory of directories) await removeCgroup(directory);
      return;
    } catch (error) {
      if (systemErrorCode(error) !== "EBUSY" || round === KILL_ROUNDS) throw error;
    }
  }
}

function killProcesses(directory: string): void {
  for (const pid of cgroupProcesses(directory)) {
    if (pid === process.pid) continue;
    try {
      process.kill(pid, "SIGKILL");
    } catch (error) {
      if (systemErrorCode(error) !== "ESRCH") throw error;
    }
  }
}

function thaw(directory: string): void {
  // the file of v1, and that of v2
  for (const [file, word] of [
    ["freezer.state", "THAWED"],
    ["cgroup.freeze", "0"],
  ] as const) {
    try {
      writeFileSync(join(directory, file), word, { flag: "r+" });
    } catch (error) {
      if (!isGone(error)) throw error;
    }
  }
}
