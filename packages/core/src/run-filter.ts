import { spawn } from "node:child_process";
import { once } from "node:events";

import { deadlineExceeded, resourceExhausted } from "@berth/errors";

import type { CallOptions } from "./any.ts";
import { childEnvironment } from "./child-environment.ts";

/** How {@link runFilter} runs a program. */
export interface FilterOptions extends CallOptions {
  readonly args?: readonly string[];
  /** The whole environment; {@link childEnvironment} when absent. */
  readonly env?: NodeJS.ProcessEnv;
  /** What it reads; it need not read it. */
  readonly input: string;
  readonly timeoutMs: number;
  readonly maxStdoutBytes: number;
  /** It is killed when it writes more; else what is more is dropped. */
  readonly isMoreAnError?: boolean;
}

/** What a program said, and how it ended. */
export interface FilterResult {
  /** `null` where a signal ended it. */
  readonly code: number | null;
  readonly signalName: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** More of what it complains is dropped. */
const MAX_STDERR_BYTES = 64 << 10;

/**
 * This gives a program its input and returns what it wrote, whatever its exit code. It runs in a process group of its own, which is killed with all in it when the time is over or
 * `signal` is aborted; what has left the group is not waited for.
 * Starting it forks this process, which takes the longer the larger it is: where natives may be used and programs are many, `@berth/linux` has a
 * way that does not.
 *
 * @throws the system's error - it cannot be started: ENOENT, EACCES, ETXTBSY, EMFILE
 * @throws deadline_exceeded; resource_exhausted - it wrote too much; the reason of `signal`
 */
export async function runFilter(program: string, options: FilterOptions): Promise<FilterResult> {
  const { args = [], env = childEnvironment(), input, timeoutMs, maxStdoutBytes, signal } = options;
  signal?.throwIfAborted();
  const timeout = AbortSignal.timeout(timeoutMs);
  const tooMuch = new AbortController();
  const end = AbortSignal.any([timeout, tooMuch.signal, ...(signal === undefined ? [] : [signal])]);
  const child = spawn(program, args, { env, stdio: ["pipe", "pipe", "pipe"], detached: true });
  const ended = once(child, "close");
  // Without descriptors it has no streams either, whatever the types say.
  if (child.pid === undefined) await ended;
  const kill = (): void => {
    killGroup(child.pid);
    // What has left the group may hold the other ends.
    child.stdout.destroy();
    child.stderr.destroy();
  };
  end.addEventListener("abort", kill, { once: true });
  try {
    const stdout = collect(child.stdout, maxStdoutBytes, () => {
      if (options.isMoreAnError === true) tooMuch.abort();
    });
    const stderr = collect(child.stderr, MAX_STDERR_BYTES);
    child.stdin.on("error", () => {});
    child.stdin.end(input);
    // The arguments of "close" are those of Node's documentation.
    const [code, signalName] = (await ended) as [number | null, NodeJS.Signals | null];
    signal?.throwIfAborted();
    if (timeout.aborted) throw deadlineExceeded(`${program} was not done after ${timeoutMs} ms`);
    if (tooMuch.signal.aborted) throw resourceExhausted(`${program} wrote over ${maxStdoutBytes} bytes`);
    return { code, signalName, stdout: stdout(), stderr: stderr() };
  } finally {
    end.removeEventListener("abort", kill);
  }
}

function collect(stream: NodeJS.ReadableStream, limit: number, onMore: () => void = () => {}): () => string {
  const chunks: Buffer[] = [];
  let left = limit;
  stream.on("error", () => {});
  stream.on("data", (chunk: Buffer) => {
    if (left > 0) chunks.push(chunk.subarray(0, left));
    left -= chunk.length;
    if (left < 0) onMore();
  });
  return () => Buffer.concat(chunks).toString("utf8");
}

function killGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // It has ended.
  }
}
