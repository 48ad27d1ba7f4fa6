import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { join } from "node:path";

import { deadlineExceeded, failedPrecondition } from "@berth/errors";

import { debianLibraries, debianTool } from "../peers/debian-tools.ts";
import { temporaryDirectory } from "../temporary-directory.ts";

/** What is done to system calls of a running process. */
export interface TraceOptions {
  readonly calls: readonly string[];
  /** In the words of strace: `signal=SIGKILL:when=3`, `error=EIO:when=2+`. Counted by thread, from now on. */
  readonly inject?: string;
  /** Only calls that are about one of these paths, or a descriptor of one. */
  readonly paths?: readonly string[];
}

/** strace, attached to a process. Disposing it detaches. */
export interface CallTracer extends AsyncDisposable {
  /** Resolves when the process, or strace, has ended. */
  readonly ended: Promise<void>;
  /** This returns the lines so far: thread and call. */
  lines(): Promise<readonly string[]>;
  /** This resolves when the process is no longer watched. */
  detach(): Promise<void>;
}

const ATTACH_DEADLINE_MS = 20_000;

/**
 * This watches all threads of a process, those to come included, and injects faults.
 *
 * @throws failed_precondition - strace cannot attach
 */
export async function traceCalls(pid: number, options: TraceOptions): Promise<CallTracer> {
  await using stack = new AsyncDisposableStack();
  const directory = stack.use(await temporaryDirectory("strace"));
  const output = join(directory.path, "calls");
  const calls = options.calls.map((call) => `?${call}`).join(",");
  const inject = options.inject === undefined ? [] : ["-e", `inject=${calls}:${options.inject}`];
  const paths = (options.paths ?? []).flatMap((path) => ["-P", path]);
  const shown = ["-f", "-y", "-s", "0", "-o", output, "-e", `trace=${calls}`, "-e", "signal=none"];
  const args = shown.concat(inject, paths, ["-p", String(pid)]);
  const env = { ...process.env, LD_LIBRARY_PATH: debianLibraries() };
  const child = spawn(debianTool("strace"), args, { env, stdio: ["ignore", "ignore", "pipe"] });
  const ended = once(child, "exit").then(() => {});
  const detach = async (): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) child.kill("SIGINT");
    await ended;
  };
  stack.defer(detach);
  await attached(child.stderr, ended);
  const owned = stack.move();
  return {
    ended,
    detach,
    lines: async () => (await readFile(output, "utf8")).split("\n").filter(Boolean),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

async function attached(stderr: NodeJS.ReadableStream, ended: Promise<void>): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let text = "";
  stderr.on("data", (chunk: Buffer) => {
    text += chunk.toString();
    if (/attached/.test(text)) resolve();
  });
  void ended.then(() => reject(failedPrecondition(`strace ended: ${text}`)));
  const late = () => reject(deadlineExceeded(`strace did not attach: ${text}`));
  const timer = setTimeout(late, ATTACH_DEADLINE_MS);
  await promise.finally(() => clearTimeout(timer));
}

/**
 * This counts what a trace has seen: the most calls of one name that one thread made. Threads of one call each count as one:
 * it is by thread that faults are counted too.
 */
export function countCalls(lines: readonly string[]): ReadonlyMap<string, number> {
  const byThread = new Map<string, number>();
  const most = new Map<string, number>();
  for (const line of lines) {
    const match = /^(\d+) +(\w+)\(/.exec(line);
    const [, thread, call] = match ?? [];
    if (call === undefined) continue;
    const count = (byThread.get(`${thread} ${call}`) ?? 0) + 1;
    byThread.set(`${thread} ${call}`, count);
    most.set(call, Math.max(count, most.get(call) ?? 0));
  }
  return most;
}
