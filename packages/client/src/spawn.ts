import { constants } from "node:os";

import type { AnyValue, CallOptions } from "@berth/core/any";
import type { ExitStatus } from "@berth/core/runtime";
import { failedPrecondition, ignoreNotFound, invalidArgument } from "@berth/errors";
import type { SpecOption } from "@berth/oci/spec";
import { decodeSpec, execProcess, withCwd, withEnv, withTty } from "@berth/oci/spec";

import type { Client } from "./client.ts";
import type { CreateContainerOptions } from "./create-container.ts";
import { createContainer, removeContainer } from "./create-container.ts";
import type { OutputLine } from "./output-lines.ts";
import { linesOf, mergeLines } from "./output-lines.ts";
import type { PipedIo, PipedIoOptions } from "./piped-io.ts";
import { makePipedIo } from "./piped-io.ts";
import type { RunningProcess } from "./run-task.ts";
import { startExec, startTask } from "./run-task.ts";

/** Options of {@link spawn}. */
export interface SpawnOptions extends CreateContainerOptions, Omit<PipedIoOptions, "signal"> {
  /** Options of the task, for runc a `containerd.runc.v1.Options`. */
  readonly taskOptions?: AnyValue;
  /** Leave the container when the process is disposed; its task goes in any case. */
  readonly keep?: boolean;
}

/** Options of {@link spawnExec}. */
export interface SpawnExecOptions extends PipedIoOptions {
  /** Names the process within the container. */
  readonly execId: string;
  readonly args: readonly string[];
  /** `NAME=value`, beside those of the container. */
  readonly env?: readonly string[];
  readonly cwd?: string;
  /** More changes of the process, which has the rights of the container's own. */
  readonly spec?: readonly SpecOption[];
}

/**
 * A process in a container whose streams this program has. Disposing kills what still runs and removes what was made for it: the process, its pipes and, after
 * {@link spawn}, the container.
 */
export class PipedProcess implements AsyncDisposable {
  /** Id of the container. */
  readonly id: string;
  readonly pid: number;
  /** Resolves when the process has ended, though what it wrote may not have been read yet. */
  readonly exited: Promise<ExitStatus>;
  readonly #process: RunningProcess;
  readonly #io: PipedIo;
  readonly #owned: AsyncDisposableStack;

  /** For {@link spawn} and {@link spawnExec}; `owned` disposes the process and what it stands on. */
  constructor(process: RunningProcess, io: PipedIo, owned: AsyncDisposableStack) {
    this.id = process.task.id;
    this.pid = process.pid;
    this.exited = process.exited;
    this.#process = process;
    this.#io = io;
    this.#owned = owned;
  }

  /** Its output, to be iterated once; a process whose output nobody reads waits once its pipe is full. */
  get stdout(): AsyncIterable<Uint8Array> {
    return this.#io.stdout;
  }

  get stderr(): AsyncIterable<Uint8Array> {
    return this.#io.stderr;
  }

  /** This reads both streams by lines, as they come; in the place of {@link PipedProcess.stdout} and `stderr`. */
  lines(): AsyncGenerator<OutputLine, void, undefined> {
    return mergeLines({ stdout: linesOf(this.#io.stdout), stderr: linesOf(this.#io.stderr) });
  }

  /** This reads standard output to its end. For what is known to be small: it is held in memory. */
  async text(): Promise<string> {
    const chunks = await Array.fromAsync(this.#io.stdout);
    return Buffer.concat(chunks).toString("utf8");
  }

  /** This writes to standard input. @throws unavailable - the process was started without one, or has ended */
  async write(data: string | Uint8Array, options?: CallOptions): Promise<void> {
    await this.#io.write(typeof data === "string" ? new TextEncoder().encode(data) : data, options);
  }

  /** This ends standard input. */
  async closeStdin(options?: CallOptions): Promise<void> {
    await this.#io.endInput(options);
    await this.#process.task.closeIo({ ...options, execId: this.#process.execId });
  }

  /** This sends a signal, `SIGTERM` unless told. @throws not_found - it has ended; invalid_argument - no such signal */
  async kill(signalName: NodeJS.Signals = "SIGTERM", options?: CallOptions): Promise<void> {
    const signalNumber = constants.signals[signalName];
    if (signalNumber === undefined) throw invalidArgument(`unknown signal ${JSON.stringify(signalName)}`);
    await this.#process.task.kill({ ...options, execId: this.#process.execId, signalNumber });
  }

  /** This tells the size of the terminal, for a process that has one. */
  async resize(size: { readonly width: number; readonly height: number }, options?: CallOptions): Promise<void> {
    await this.#process.task.resizePty({ ...options, ...size, execId: this.#process.execId });
  }

  /**
   * This waits until the process has ended and its output has been read, removes it, and returns its exit status. Output that nobody has begun to read
   * by now is thrown away. Not to be called in the midst of reading: whoever has begun reads to the end.
   */
  async finish(options?: CallOptions): Promise<number> {
    // From now on, not only once it has ended: a process whose pipe is full does not end.
    this.#io.dropUnread();
    return await this.#process.finish(options);
  }

  /** This kills what still runs, and removes it with what it stands on. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned.disposeAsync();
  }
}

/**
 * This makes a container and starts its process, whose streams come here. After a failure nothing of it is left.
 *
 * @throws as `createContainer` and `startTask`
 */
export async function spawn(client: Client, options: SpawnOptions): Promise<PipedProcess> {
  const { terminal = false, signal, taskOptions } = options;
  await using undo = new AsyncDisposableStack();
  const spec = (context: Parameters<NonNullable<CreateContainerOptions["spec"]>>[0]): readonly SpecOption[] => [
    ...(terminal ? [withTty] : []),
    ...(options.spec?.(context) ?? []),
  ];
  const container = await createContainer(client, { ...options, spec });
  const keeping = new AsyncDisposableStack();
  undo.use(keeping);
  keeping.defer(() => removeContainer(client, container.id).catch(ignoreNotFound));
  const io = await makePipedIo(options);
  // Disposed by `startTask` when that fails.
  const process = undo.use(await startTask(client, container, { io, signal, ...(taskOptions && { taskOptions }) }));
  if (options.keep === true) keeping.move();
  return new PipedProcess(process, io, undo.move());
}

/** This starts another process in a container that runs. @throws not_found, already_exists - the id is taken, failed_precondition */
export async function spawnExec(client: Client, id: string, options: SpawnExecOptions): Promise<PipedProcess> {
  const { execId, args, env = [], cwd, terminal = false, signal } = options;
  const { spec } = await client.containers.get(id, { signal });
  if (spec === undefined) throw failedPrecondition(`container ${id} has no spec`);
  const changes: readonly SpecOption[] = [
    ...(terminal ? [withTty] : []),
    ...(cwd === undefined ? [] : [withCwd(cwd)]),
    withEnv(env),
    ...(options.spec ?? []),
  ];
  await using undo = new AsyncDisposableStack();
  const io = await makePipedIo(options);
  const process = execProcess(decodeSpec(spec), args, ...changes);
  const running = undo.use(await startExec(client, id, { execId, io, process, signal }));
  return new PipedProcess(running, io, undo.move());
}
