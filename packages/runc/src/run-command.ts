import { Socket } from "node:net";

import { childEnvironment } from "@berth/core/child-environment";
import { notFound, resourceExhausted, systemErrorCode, wrapError } from "@berth/errors";
import { closeFd, pipe2 } from "@berth/linux/files";
import type { Child, ChildDescriptor, ChildReaper, SpawnOptions } from "@berth/linux/process";

const OUTPUT_LIMIT = 16 * 1024 * 1024;
/** runc does one thing after the other: with one thread for its Go code it ends a quarter sooner. */
const ONE_THREAD = { GOMAXPROCS: "1" };
const PREFIX = "BERTH_SHIM_";

/** What to run, and where its output goes. */
export interface CommandOptions {
  readonly path: string;
  readonly args: readonly string[];
  readonly reaper: ChildReaper;
  readonly cwd?: string | undefined;
  /** Standard streams; without them the output is captured. */
  readonly stdio?: readonly ChildDescriptor[] | undefined;
}

/** How a command ended; what it printed is empty where it had streams of its own. */
export interface CommandResult {
  /** Exit status, or 128 + signal. */
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** This returns the environment for programs that a shim starts: without what was meant for the shim alone. */
export function commandEnvironment(): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(childEnvironment()).filter(([name]) => !name.startsWith(PREFIX)));
}

/** This starts a program. @throws not_found - there is no such program */
export function startProgram(reaper: ChildReaper, options: SpawnOptions): Child {
  try {
    return reaper.spawn(options);
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT")
      throw notFound(`program ${JSON.stringify(options.path)} not found`, { cause: error });
    throw wrapError(error, `start ${options.path}`);
  }
}

/**
 * This runs a program to its end.
 * @throws not_found - there is no such program
 * @throws resource_exhausted - it printed more than 16 MiB
 */
export async function runCommand(options: CommandOptions): Promise<CommandResult> {
  const { path, args, reaper, cwd, stdio } = options;
  const env = { ...commandEnvironment(), ...ONE_THREAD };
  const spawnOptions = { path, args, env, ...(cwd === undefined ? {} : { cwd }) };
  if (stdio) {
    const { status } = await startProgram(reaper, { ...spawnOptions, stdio }).exited;
    return { status, stdout: "", stderr: "" };
  }
  using outputs = new DisposableStack();
  const [out, err] = [outputs.use(new CapturedOutput()), outputs.use(new CapturedOutput())];
  const child = startProgram(reaper, { ...spawnOptions, stdio: ["null", out.childEnd, err.childEnd] });
  const [{ status }, stdout, stderr] = await Promise.all([child.exited, out.read(), err.read()]);
  return { status, stdout, stderr };
}

/** A pipe whose other end a child writes. */
class CapturedOutput implements Disposable {
  readonly childEnd: number;
  readonly #socket: Socket;
  #childEndOpen = true;

  constructor() {
    const [read, write] = pipe2();
    this.childEnd = write;
    this.#socket = new Socket({ fd: read, readable: true, writable: false });
  }

  async read(): Promise<string> {
    this.#closeChildEnd();
    const chunks: Uint8Array[] = [];
    let size = 0;
    for await (const chunk of this.#socket) {
      size += chunk.length;
      if (size > OUTPUT_LIMIT) throw resourceExhausted(`a command printed more than ${OUTPUT_LIMIT} bytes`);
      chunks.push(chunk);
    }
    return Buffer.concat(chunks).toString();
  }

  [Symbol.dispose](): void {
    this.#closeChildEnd();
    this.#socket.destroy();
  }

  #closeChildEnd(): void {
    if (this.#childEndOpen) closeFd(this.childEnd);
    this.#childEndOpen = false;
  }
}
