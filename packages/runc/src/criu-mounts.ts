import { closeSync, constants, existsSync, mkdirSync, openSync, readdirSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { systemErrorCode, unavailable } from "@berth/errors";
import { flock } from "@berth/linux/files";
import { unmountRecursive } from "@berth/linux/mount";

const LOCK_PAUSE_MS = 50;
const LOCK_TIMEOUT_MS = 60_000;

/** This returns where CRIU keeps its logs of a bundle's container, unless somebody wants them elsewhere. */
export function criuWorkPath(bundle: string): string {
  return join(bundle, "work");
}

interface LockOptions {
  /** Default a minute. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/**
 * This lets one restore at a time work in a directory that several share, by whatever shims: what is mounted there does not tell whose it is.
 * @throws unavailable - another one takes longer than `timeoutMs`
 */
export async function lockCriuWorkPath(
  path: string,
  { timeoutMs = LOCK_TIMEOUT_MS, signal }: LockOptions = {},
): Promise<Disposable> {
  mkdirSync(path, { recursive: true, mode: 0o700 });
  using undo = new DisposableStack();
  const descriptor = undo.adopt(openSync(path, constants.O_RDONLY | constants.O_DIRECTORY), closeSync);
  for (let waitedMs = 0; !flock(descriptor); waitedMs += LOCK_PAUSE_MS) {
    if (waitedMs >= timeoutMs) throw unavailable(`another restore works in ${path}`);
    await sleep(LOCK_PAUSE_MS);
    // its reason itself, which an aborted pause would wrap
    signal?.throwIfAborted();
  }
  return undo.move();
}

/**
 * This takes away what a restore has mounted that was killed: CRIU's view of all cgroups, in its directory of logs, and the container's root once more, in
 * the runtime's state. Whoever removes these directories with all below would else remove cgroups of others.
 */
export async function removeCriuMounts(workPath: string, statePath: string): Promise<void> {
  for (const name of readNames(workPath)) {
    if (name.startsWith(".criu.")) await unmountDirectory(join(workPath, name));
  }
  await unmountDirectory(join(statePath, "criu-root"));
  // runc does not know of a container that has no more than that
  if (readNames(statePath).length === 0 && existsSync(statePath)) rmdirSync(statePath);
}

async function unmountDirectory(path: string): Promise<void> {
  if (!existsSync(path)) return;
  await unmountRecursive(path);
  rmdirSync(path);
}

function readNames(path: string): readonly string[] {
  try {
    return readdirSync(path);
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return [];
    throw error;
  }
}
