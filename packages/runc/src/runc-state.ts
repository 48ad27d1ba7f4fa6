import { constants, fstatSync, openSync, readFileSync, readSync, rmSync } from "node:fs";
import { join } from "node:path";

import { systemErrorCode, unknown } from "@berth/errors";
import { closeFd } from "@berth/linux/files";
import { cgroupMode } from "@berth/linux/cgroups";
import { openPidfd, readable } from "@berth/linux/process";

import { CGROUPS } from "./cgroups/cgroup-directories.ts";
import { killProcess, removeCgroup, thaw } from "./cgroups/remove-cgroup.ts";
import { processStart } from "./creation-processes.ts";

const END_TIMEOUT_MS = 500;

/** What runc keeps of a container, as far as it matters here. */
interface RuncState {
  readonly directory: string;
  readonly cgroups: readonly string[];
  /** Everything that runc does at a start beside releasing the process: nothing. */
  readonly plainStart: boolean;
  /** Everything that runc does at a deletion beside removing cgroups and state: nothing. */
  readonly plainEnd: boolean;
  /** When its process was started, in ticks since the start of the machine. */
  readonly startedAt: unknown;
}

/** Whose state it is. */
export interface RuncContainer {
  /** `--root` of runc. */
  readonly root: string;
  readonly id: string;
  readonly initPid: number;
}

// A process of runc costs some 20 ms, of which starting and deleting a plain container need next to nothing: a byte read
// from a FIFO that its init waits at, and some directories removed. Whatever is not plain is left to runc.

/**
 * This lets the process of a created container run, as `runc start` does; `false` where that would do more, or the state is
 * not as runc 1.x writes it: then nothing has been done.
 * @throws unknown - the process ended before it could run
 * @see runc libcontainer/container_linux.go exec
 */
export async function startPlain(
  container: RuncContainer,
  options: { readonly signal: AbortSignal },
): Promise<boolean> {
  const state = readState(container);
  if (!state?.plainStart) return false;
  const path = join(state.directory, "exec.fifo");
  const fifo = tryOpenFifo(path);
  if (fifo === undefined) return false;
  try {
    // init opens its end as soon as this one is there, writes a byte and goes on
    await readable(fifo, options).catch((error: unknown) => {
      // it may have been let go and have ended before this was noticed: the byte tells
      if (!options.signal.aborted) throw error;
    });
    if (!hasByte(fifo)) throw unknown("cannot start a container that has stopped or was started before");
    rmSync(path, { force: true });
    return true;
  } finally {
    closeFd(fifo);
  }
}

/**
 * This kills a container whose processes end with its first one, and resolves when that one has ended; `false` where that is for runc to do,
 * or it does not end soon. One that is frozen is thawed.
 */
export async function killPlain(container: RuncContainer): Promise<boolean> {
  const state = readState(container);
  if (!state?.plainEnd) return false;
  try {
    const descriptor = openPidfd(container.initPid);
    try {
      // the id may be another's by now
      if (processStart(container.initPid) !== state.startedAt) return true;
      killProcess(container.initPid);
      for (const cgroup of state.cgroups) thaw(cgroup);
      await readable(descriptor, { signal: AbortSignal.timeout(END_TIMEOUT_MS) });
    } finally {
      closeFd(descriptor);
    }
    return true;
  } catch (error) {
    return systemErrorCode(error) === "ESRCH";
  }
}

/**
 * This removes the cgroups and the state of a container whose processes have ended, as `runc delete` does; `false` where that
 * would do more, something does not go away, or the state is not as runc 1.x writes it: then runc can still be asked.
 * @see runc libcontainer/state_linux.go destroy
 */
export async function deletePlain(container: RuncContainer): Promise<boolean> {
  const state = readState(container);
  if (!state?.plainEnd) return false;
  try {
    for (const cgroup of state.cgroups) await removeCgroup(cgroup);
    rmSync(state.directory, { recursive: true, force: true });
    return true;
  } catch {
    // runc is asked next, and says it better if it fares no better
    return false;
  }
}

function readState({ root, id, initPid }: RuncContainer): RuncState | undefined {
  const directory = join(root, id);
  let state: unknown;
  try {
    state = JSON.parse(readFileSync(join(directory, "state.json"), "utf8"));
  } catch {
    return undefined;
  }
  const config = field(state, "config");
  const cgroups = Object.values(objectOf(field(state, "cgroup_paths")));
  const known =
    field(state, "id") === id &&
    field(state, "init_process_pid") === initPid &&
    isUnset(field(state, "rootless")) &&
    ["object", "undefined"].includes(typeof field(config, "Hooks")) &&
    Array.isArray(field(config, "namespaces")) &&
    cgroups.every((path) => typeof path === "string" && isOwnCgroup(path));
  if (!known) return undefined;
  const hooks = objectOf(field(config, "Hooks"));
  return {
    directory,
    // just checked: they are texts
    cgroups: [...new Set(cgroups as readonly string[])],
    plainStart: !hooks["poststart"],
    startedAt: field(state, "init_process_start"),
    plainEnd: !hooks["poststop"] && hasPlainCgroups(config) && !hasRdt(state) && hasPrivatePids(config),
  };
}

/** A directory of its own below a hierarchy, not the hierarchy itself. */
function isOwnCgroup(path: string): boolean {
  if (!path.startsWith(`${CGROUPS}/`) || path.includes("/../")) return false;
  const parts = path.slice(CGROUPS.length).split("/").filter(Boolean);
  // of version 1 the first part is the hierarchy
  return parts.length > (cgroupMode() === "unified" ? 0 : 1) && parts.every((part) => part !== "..");
}

/** Managed by runc itself. From 1.3 on it leaves out what is not set. */
function hasPlainCgroups(config: unknown): boolean {
  const cgroups = field(config, "cgroups");
  const systemd = field(cgroups, "Systemd");
  const path = field(cgroups, "path");
  return systemd === false || (systemd === undefined && typeof path === "string" && path !== "");
}

/** Groups for cache and memory bandwidth, which 1.4 has two of. */
function hasRdt(state: unknown): boolean {
  const paths = ["intel_rdt_path", "intel_rdt_mon_path"].map((name) => field(state, name));
  return !paths.every(isUnset) || !isUnset(field(field(state, "config"), "intel_rdt"));
}

function isUnset(value: unknown): boolean {
  return value === undefined || value === null || value === false || value === "";
}

function hasPrivatePids(config: unknown): boolean {
  const namespaces = field(config, "namespaces");
  return (
    Array.isArray(namespaces) &&
    namespaces.some((namespace) => field(namespace, "type") === "NEWPID" && isUnset(field(namespace, "path")))
  );
}

function tryOpenFifo(path: string): number | undefined {
  let descriptor: number;
  try {
    descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
  } catch {
    return undefined;
  }
  if (fstatSync(descriptor).isFIFO()) return descriptor;
  closeFd(descriptor);
  return undefined;
}

function hasByte(fifo: number): boolean {
  try {
    return readSync(fifo, new Uint8Array(16)) > 0;
  } catch (error) {
    if (systemErrorCode(error) === "EAGAIN") return false;
    throw error;
  }
}

function objectOf(value: unknown): Readonly<Record<string, unknown>> {
  // any object may be asked for any name
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}

function field(value: unknown, name: string): unknown {
  return objectOf(value)[name];
}
