import { readFileSync, readlinkSync, writeFileSync } from "node:fs";

import { bind, check, koffi, SYS } from "../libc.ts";
import { closeFd } from "../files/descriptors.ts";

const native = {
  prctl: bind<[number, number | bigint, number, number, number], number>("prctl", "int", [
    "int",
    "ulong",
    "ulong",
    "ulong",
    "ulong",
  ]),
  pidfdOpen: bind<[number, number, number], number>("syscall", "long", ["long", "int", "uint"]),
};

const PR_SET_CHILD_SUBREAPER = 36;

/** This makes orphans among the descendants children of this process (or no longer). */
export function setSubreaper(enabled: boolean): void {
  check(native.prctl(PR_SET_CHILD_SUBREAPER, enabled ? 1 : 0, 0, 0, 0), "prctl");
}

/** This returns the OOM score adjustment of a process. */
export function getOomScoreAdj(pid: number | "self" = "self"): number {
  return Number(readFileSync(`/proc/${pid}/oom_score_adj`, "utf8"));
}

/**
 * This sets the OOM score adjustment of a process.
 * @throws EACCES - lower than CAP_SYS_RESOURCE's absence allows
 * @throws ENOENT - there is no such process
 */
export function setOomScoreAdj(pid: number | "self", value: number): void {
  writeFileSync(`/proc/${pid}/oom_score_adj`, String(value));
}

/** This returns a descriptor that stands for a process whatever becomes of its id; the caller closes it. */
export function openPidfd(pid: number): number {
  return check(native.pidfdOpen(SYS.pidfdOpen, pid, 0), "pidfd_open");
}

/** What a wait takes. */
export interface ProcessExitOptions {
  readonly signal?: AbortSignal;
}

/**
 * This resolves when a process has exited, be it a child or not, and takes no exit status.
 * @throws ESRCH - there is no such process
 */
export async function processExit(pid: number, options: ProcessExitOptions = {}): Promise<void> {
  options.signal?.throwIfAborted();
  const descriptor = openPidfd(pid);
  try {
    await readable(descriptor, options);
  } finally {
    closeFd(descriptor);
  }
}

/** This resolves when a descriptor that `poll` knows (socket, eventfd, pidfd, FIFO) can be read or is at its end. */
export async function readable(descriptor: number, options: ProcessExitOptions = {}): Promise<void> {
  options.signal?.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const handle = koffi().node.poll(descriptor, { readable: true, disconnect: true }, () => resolve());
  const abort = (): void => reject(options.signal?.reason);
  options.signal?.addEventListener("abort", abort, { once: true });
  try {
    await promise;
  } finally {
    options.signal?.removeEventListener("abort", abort);
    handle.close();
  }
}

/** This returns the inode of a pid namespace: equal for two processes exactly when they share it. */
export function pidNamespaceInode(pid: number | "self" = "self"): bigint {
  const link = readlinkSync(`/proc/${pid}/ns/pid`);
  return BigInt(link.slice(link.indexOf("[") + 1, -1));
}

/** This returns the parent of this process as it is now. */
export function getPpid(): number {
  return process.ppid;
}
