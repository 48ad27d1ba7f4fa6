import { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

import { deadlineExceeded, notFound, resourceExhausted } from "@berth/errors";

import { closeFd, pipe2 } from "../files/descriptors.ts";
import { findProgram } from "./find-program.ts";
import { spawn } from "./spawn.ts";
import { type ExitStatus, waitPid } from "./wait.ts";

/** What to run, and for how long at most. */
export interface ProgramOptions {
  /** A path, or a name as {@link findProgram} takes it. */
  readonly path: string;
  readonly args: readonly string[];
  /** The whole environment; PATH alone if not given. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Further descriptors: number in the child → number here. */
  readonly extraFds?: ReadonlyMap<number, number>;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** How it ended. */
export interface ProgramResult {
  /** Exit code, or 128 + the signal. */
  readonly status: number;
  /** What it printed, standard output and error as they came. */
  readonly output: string;
}

const OUTPUT_LIMIT = 1024 * 1024;
const EXIT_POLL_MS = 2;

/**
 * This runs a program to its end, without a fork of this process, and returns what it printed, whatever its status. Its standard
 * input is empty. It works in any thread and beside any way of reaping that leaves the children of others alone.
 *
 * @throws not_found - there is no such program
 * @throws deadline_exceeded - it took too long; its process group is killed, and so it is when the signal comes
 * @throws resource_exhausted - it printed more than 1 MiB; it is killed
 */
export async function runProgram(options: ProgramOptions): Promise<ProgramResult> {
  const { args, env, extraFds, timeoutMs, signal } = options;
  signal?.throwIfAborted();
  const path = options.path.includes("/") ? options.path : findProgram(options.path);
  if (path === undefined) throw notFound(`program ${options.path} not found`);
  using output = new OutputPipe();
  const fds = extraFds === undefined ? {} : { extraFds };
  const stdio = ["null", output.childEnd, output.childEnd] as const;
  const pid = spawn({ path, args, env: env ?? { PATH: process.env["PATH"] }, stdio, newProcessGroup: true, ...fds });
  const timeout = AbortSignal.timeout(timeoutMs);
  const limit = signal === undefined ? timeout : AbortSignal.any([timeout, signal]);
  try {
    const printed = await output.read(limit);
    return { status: (await exit(pid, limit)).status, output: printed };
  } catch (error) {
    kill(pid);
    await exit(pid);
    // as the caller gave it: what waits inside has reasons of its own
    signal?.throwIfAborted();
    if (timeout.aborted) throw deadlineExceeded(`${path} did not end within ${timeoutMs} ms`, { cause: error });
    throw error;
  }
}

/** With the end of its output a program is about to exit: nothing is told of that here, so it is asked again and again. */
async function exit(pid: number, signal?: AbortSignal): Promise<ExitStatus> {
  for (;;) {
    const status = waitPid(pid);
    if (status !== undefined) return status;
    await sleep(EXIT_POLL_MS, undefined, signal === undefined ? {} : { signal });
  }
}

function kill(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // gone already
  }
}

/** A pipe that a child writes to. */
class OutputPipe implements Disposable {
  readonly childEnd: number;
  readonly #socket: Socket;
  #isChildEndOpen = true;

  constructor() {
    const [read, write] = pipe2();
    this.childEnd = write;
    this.#socket = new Socket({ fd: read, readable: true, writable: false });
  }

  async read(signal: AbortSignal): Promise<string> {
    this.#closeChildEnd();
    const abort = (): void => void this.#socket.destroy(asError(signal.reason));
    signal.addEventListener("abort", abort, { once: true });
    try {
      signal.throwIfAborted();
      const chunks: Uint8Array[] = [];
      let size = 0;
      for await (const chunk of this.#socket) {
        size += chunk.length;
        if (size > OUTPUT_LIMIT) throw resourceExhausted(`a program printed more than ${OUTPUT_LIMIT} bytes`);
        chunks.push(chunk);
      }
      return Buffer.concat(chunks).toString();
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }

  [Symbol.dispose](): void {
    this.#closeChildEnd();
    this.#socket.destroy();
  }

  #closeChildEnd(): void {
    if (this.#isChildEndOpen) closeFd(this.childEnd);
    this.#isChildEndOpen = false;
  }
}

function asError(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error(String(reason));
}
