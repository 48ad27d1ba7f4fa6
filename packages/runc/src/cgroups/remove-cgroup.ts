import { readdirSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { failedPrecondition, systemErrorCode } from "@berth/errors";

import { cgroupProcesses, cgroupTree, isGone } from "./cgroup-directories.ts";

/** Processes that have just ended may still be in a cgroup. */
const BUSY_PAUSES_MS = [1, 2, 4, 8, 16, 32];
/** A process may be making more of them while the first are killed. */
const KILL_ROUNDS = 100;
const KILL_PAUSE_MS = 20;

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
 * This kills the processes of a cgroup that are one's own, frozen or not, and removes it. The directories are its places in the hierarchies.
 * One that another's process uses too is left as it is then, with all below it.
 *
 * @throws failed_precondition - another's process uses it, or an own one does not end
 */
export async function clearCgroup(directories: readonly string[], isOwn: (pid: number) => boolean): Promise<void> {
  for (let round = 1; round <= KILL_ROUNDS && killOwn(directories.flatMap(cgroupTree), isOwn); round++)
    await sleep(Math.min(round, KILL_PAUSE_MS));
  const used = await stillUsed(directories);
  if (used.length > 0) throw failedPrecondition(`cgroups ${used.join(", ")} are in use`);
  for (const directory of directories) await removeCgroup(directory);
}

/** What is on its way out can no longer be told from another's process: it has a moment. */
async function stillUsed(directories: readonly string[]): Promise<readonly string[]> {
  for (const pause of [...BUSY_PAUSES_MS, 0]) {
    const used = directories.flatMap(cgroupTree).filter((directory) => cgroupProcesses(directory).length > 0);
    if (used.length === 0 || pause === 0) return used;
    await sleep(pause);
  }
  return [];
}

/** Whether there was one. */
function killOwn(directories: readonly string[], isOwn: (pid: number) => boolean): boolean {
  // all before the first is killed: what descends from it is known by it
  const found = directories.map((directory) => ({ directory, pids: cgroupProcesses(directory).filter(isOwn) }));
  const own = found.filter(({ pids }) => pids.length > 0);
  for (const { directory, pids } of own) {
    for (const pid of pids) killProcess(pid);
    // the signal waits as long as its process is frozen
    thaw(directory);
  }
  return own.length > 0;
}

/** This sends SIGKILL; a process that has ended is fine. */
export function killProcess(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if (systemErrorCode(error) !== "ESRCH") throw error;
  }
}

/** This lets the processes of a cgroup run, or end; of a directory that freezes nothing it says nothing. */
export function thaw(directory: string): void {
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
