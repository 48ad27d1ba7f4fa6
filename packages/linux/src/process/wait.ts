import { setTimeout as sleep } from "node:timers/promises";

import { bind, lastErrno } from "../libc.ts";
import { systemError } from "../system-error.ts";

const native = {
  waitpid: bind<[number, Int32Array, number], number>("waitpid", "int", ["int", "void *", "int"]),
  waitid: bind<[number, number, Uint8Array, number], number>("waitid", "int", ["int", "uint", "void *", "int"]),
};

const WNOHANG = 1;
const WEXITED = 4;
const WNOWAIT = 0x01000000;
const P_ALL = 0;
const ECHILD = 10;
const EINTR = 4;

/** How a process ended. */
export interface ExitStatus {
  readonly pid: number;
  /** As containerd counts: the exit code, or 128 + the signal. */
  readonly status: number;
  /** The exit code, when it ended by itself. */
  readonly exitCode?: number;
  /** The number of the signal that ended it. */
  readonly signal?: number;
  /** When this process noticed. */
  readonly exitedAt: Date;
}

/** This reads a wait status word. */
export function decodeWaitStatus(pid: number, word: number): ExitStatus {
  const signal = word & 0x7f;
  const exitedAt = new Date();
  if (signal !== 0) return { pid, status: 128 + signal, signal, exitedAt };
  const exitCode = (word >> 8) & 0xff;
  return { pid, status: exitCode, exitCode, exitedAt };
}

/** How `waitPid` waits. */
export interface WaitOptions {
  /** Answer `undefined` at once while the child runs (default); `false` blocks the thread. */
  readonly noHang?: boolean;
}

const word = new Int32Array(1);

/**
 * This takes the exit status of a child, which then is no zombie any more.
 * @throws ECHILD - it is not a child of this process, or its status was taken
 */
export function waitPid(pid: number, options: WaitOptions = {}): ExitStatus | undefined {
  for (;;) {
    const result = native.waitpid(pid, word, options.noHang === false ? 0 : WNOHANG);
    if (result > 0) return decodeWaitStatus(result, word[0] ?? 0);
    if (result === 0) return undefined;
    const errno = lastErrno();
    if (errno !== EINTR) throw systemError(errno, "waitpid");
  }
}

const CLAIM_POLL_MS = 5;

/** Children whose ends somebody in this process waits for by itself. */
const claims = new Map<number, (status: ExitStatus) => void>();

/** This gives the end of a child to who has claimed it; `false` where nobody has. */
export function handOver(status: ExitStatus): boolean {
  const claim = claims.get(status.pid);
  claim?.(status);
  return claim !== undefined;
}

/**
 * This waits for a child that was started just now, without holding a thread, also beside a {@link ChildReaper} that takes them all.
 * `undefined` when it has not ended in time.
 */
export async function waitClaimed(pid: number, timeoutMs: number): Promise<ExitStatus | undefined> {
  let ended: ExitStatus | undefined;
  claims.set(pid, (status) => void (ended = status));
  const deadline = performance.now() + timeoutMs;
  try {
    for (;;) {
      ended ??= waitPid(pid);
      if (ended !== undefined || performance.now() > deadline) return ended;
      await sleep(CLAIM_POLL_MS);
    }
  } finally {
    claims.delete(pid);
  }
}

const info = new Uint8Array(128);
const infoView = new DataView(info.buffer);
const PID_OFFSET = 16; // of si_pid in siginfo_t on 64-bit machines

/** This returns the id of some child that has exited and leaves it a zombie; `undefined` when there is none. */
export function peekExited(): number | undefined {
  infoView.setInt32(PID_OFFSET, 0, true);
  if (native.waitid(P_ALL, 0, info, WEXITED | WNOHANG | WNOWAIT) === -1) {
    const errno = lastErrno();
    if (errno === ECHILD || errno === EINTR) return undefined;
    throw systemError(errno, "waitid");
  }
  const pid = infoView.getInt32(PID_OFFSET, true);
  return pid === 0 ? undefined : pid;
}
