import { closeSync } from "node:fs";
import { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

import type { CallOptions } from "@berth/core/any";
import { deadlineExceeded, resourceExhausted, wrapError } from "@berth/errors";
import { pipe2 } from "@berth/linux/files";
import type { ChildReaper } from "@berth/linux/process";

/** A run of a shim binary. */
export interface ShimCommand extends CallOptions {
  readonly binary: string;
  readonly args: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  /** What it reads from its standard input. */
  readonly stdin: Uint8Array;
  readonly timeoutMs: number;
  /** Called with what comes on the standard output, as it comes. */
  readonly onOutput?: ((chunk: Uint8Array) => void) | undefined;
  /** One stream for both outputs, as containerd takes the answer of `start`. */
  readonly combine?: boolean;
}

/** What a run gave. */
export interface ShimOutput {
  readonly status: number;
  readonly stdout: Uint8Array;
  /** Empty when combined. */
  readonly stderr: Uint8Array;
}

const MAX_OUTPUT_BYTES = 10 * 1024 * 1024;
// A shim may leave its output open in a process that lives on; its answer is complete when it exits.
const DRAIN_MS = 500;

/**
 * This runs a shim binary in a process group of its own and returns what it printed, whatever its status.
 *
 * @throws deadline_exceeded, canceled - it took too long or the signal came; the process group is killed
 * @throws resource_exhausted - it printed more than 10 MiB; it is killed
 */
export async function runShimCommand(reaper: ChildReaper, command: ShimCommand): Promise<ShimOutput> {
  const { binary, args, cwd, env, signal } = command;
  signal?.throwIfAborted();
  await using input = openPipe("write");
  await using output = openPipe("read");
  await using errors = command.combine ? undefined : openPipe("read");
  const stdio = [input.childFd, output.childFd, (errors ?? output).childFd];
  const child = startChild(reaper, { path: binary, args, env, cwd, stdio, newProcessGroup: true });
  for (const pipe of [input, output, errors]) pipe?.closeChildEnd();
  const stop = new AbortController();
  const stdout = collect(output.socket, stop, command.onOutput);
  const stderr = errors === undefined ? Promise.resolve(new Uint8Array(0)) : collect(errors.socket, stop);
  input.socket.end(command.stdin);
  const deadline = AbortSignal.timeout(command.timeoutMs);
  const limit = AbortSignal.any([deadline, stop.signal, ...(signal === undefined ? [] : [signal])]);
  const exit = await Promise.race([child.exited, aborted(limit)]);
  if (exit === undefined) {
    killGroup(child.pid);
    await child.exited;
    if (stop.signal.aborted) throw stop.signal.reason;
    signal?.throwIfAborted();
    throw deadlineExceeded(`${binary} did not end within ${command.timeoutMs} ms`);
  }
  await Promise.race([Promise.all([stdout, stderr]), sleep(DRAIN_MS, undefined, { ref: false })]);
  output.socket.destroy();
  errors?.socket.destroy();
  return { status: exit.status, stdout: await stdout, stderr: await stderr };
}

function startChild(
  reaper: ChildReaper,
  options: Parameters<ChildReaper["spawn"]>[0],
): ReturnType<ChildReaper["spawn"]> {
  try {
    return reaper.spawn(options);
  } catch (error) {
    throw wrapError(error, `start ${options.path}`);
  }
}

interface ParentPipe extends AsyncDisposable {
  readonly socket: Socket;
  readonly childFd: number;
  closeChildEnd(): void;
}

/** A pipe of which this process keeps the end to read or to write as a socket. */
function openPipe(own: "read" | "write"): ParentPipe {
  const [readEnd, writeEnd] = pipe2();
  const [mine, childFd] = own === "read" ? [readEnd, writeEnd] : [writeEnd, readEnd];
  const socket = new Socket({ fd: mine, readable: own === "read", writable: own === "write" });
  // A shim that does not read its input, or is killed, breaks the pipe; its exit status tells the story.
  socket.on("error", () => {});
  let open = true;
  const closeChildEnd = (): void => {
    if (open) closeSync(childFd);
    open = false;
  };
  return {
    socket,
    childFd,
    closeChildEnd,
    [Symbol.asyncDispose]: async () => {
      closeChildEnd();
      socket.destroy();
    },
  };
}

function collect(socket: Socket, stop: AbortController, onOutput?: (chunk: Uint8Array) => void): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  const { promise, resolve } = Promise.withResolvers<Uint8Array>();
  socket.on("data", (chunk: Uint8Array) => {
    size += chunk.length;
    onOutput?.(chunk);
    if (size > MAX_OUTPUT_BYTES) stop.abort(resourceExhausted(`shim printed more than ${MAX_OUTPUT_BYTES} bytes`));
    else chunks.push(chunk);
  });
  socket.on("close", () => resolve(Buffer.concat(chunks)));
  socket.on("end", () => resolve(Buffer.concat(chunks)));
  return promise;
}

function aborted(signal: AbortSignal): Promise<undefined> {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  if (signal.aborted) resolve(undefined);
  signal.addEventListener("abort", () => resolve(undefined), { once: true });
  return promise;
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // Gone already.
  }
}
