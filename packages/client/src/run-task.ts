import type { AnyValue, CallOptions } from "@berth/core/any";
import type { Container } from "@berth/core/containers";
import { raceSignal } from "@berth/core/race-signal";
import type { ExitStatus, ProcessIo } from "@berth/core/runtime";
import { ignoreNotFound, invalidArgument, isNotFound } from "@berth/errors";
import type { Descriptor } from "@berth/oci";
import type { SpecProcess } from "@berth/oci/spec";
import { encodeProcess } from "@berth/oci/spec";

import type { Client } from "./client.ts";
import type { CreateContainerOptions } from "./create-container.ts";
import { createContainer, removeContainer } from "./create-container.ts";
import type { RemoteTask } from "./tasks-client.ts";

/**
 * Where a process's streams go. Whoever runs a process makes it (`makePipedIo` and `logIo` do, or a program its own) and the process's handle disposes it.
 */
export interface AttachedIo extends AsyncDisposable {
  readonly paths: ProcessIo;
  /** Called when the process has ended: resolves when its output has been read to the end. A pipe that nobody has opened for writing has none: see `endUnopenedPipes`. */
  drained?(): Promise<void>;
  /** Called when the process has ended: nobody takes its input any more. Must not throw. */
  ended?(): void;
  /** Called instead of disposing when the process could not be removed, as the daemon is gone: closes this program's ends, and leaves what another one needs to attach. Must not throw. */
  leave?(): void;
}

/** No streams at all. */
export const nullIo: AttachedIo = {
  paths: { stdin: "", stdout: "", stderr: "", terminal: false },
  async [Symbol.asyncDispose]() {},
};

/** Options of {@link startTask}. */
export interface StartTaskOptions extends CallOptions {
  readonly io: AttachedIo;
  /** Options of the task, for runc a `containerd.runc.v1.Options`. */
  readonly taskOptions?: AnyValue;
  readonly runtimePath?: string;
  /** What a process goes on from, as `restoreContainer` finds it, instead of beginning. */
  readonly checkpoint?: Descriptor;
  /** Called between create and start, with the pid of the process that waits to become init. */
  readonly beforeStart?: (task: RemoteTask) => Promise<void>;
}

const SIGKILL = 9;
/** A process that does not end when killed is the kernel's problem; the caller is told and goes on. */
const KILL_TIMEOUT_MS = 10_000;

/**
 * A process that was started. Disposing it kills what still runs and removes it; after `finish` there is nothing left to do.
 */
export class RunningProcess implements AsyncDisposable {
  readonly task: RemoteTask;
  readonly pid: number;
  /** Empty for init. */
  readonly execId: string;
  /** Resolves when the process has ended. */
  readonly exited: Promise<ExitStatus>;
  readonly #io: AttachedIo;
  #removed = false;

  /** Made by {@link startTask} and {@link startExec}. */
  constructor(task: RemoteTask, started: { pid: number; execId: string; exited: Promise<ExitStatus>; io: AttachedIo }) {
    this.task = task;
    this.pid = started.pid;
    this.execId = started.execId;
    this.exited = started.exited;
    this.#io = started.io;
    // That nobody waits for the end any more says nothing of the process.
    void this.exited.then(
      () => this.#io.ended?.(),
      () => {},
    );
  }

  /**
   * This waits for the end of the process and of its output, removes it, and returns its exit status.
   *
   * @throws the reason of the signal, when it is aborted first: the process runs on until this is disposed
   */
  async finish(options?: CallOptions): Promise<number> {
    const { exitStatus } = await raceSignal(this.exited, options?.signal);
    // A child that the process has left may keep its pipe open.
    await raceSignal(Promise.resolve(this.#io.drained?.()), options?.signal);
    await this.#remove(options);
    await this.#io[Symbol.asyncDispose]();
    return exitStatus;
  }

  /** This kills what still runs, and removes it. Whatever comes of that, nothing of its streams stays open here. */
  async [Symbol.asyncDispose](): Promise<void> {
    await closeAfter(this.#io, () => this.#discard());
  }

  async #discard(): Promise<void> {
    if (this.#removed) return;
    // The caller's signal may have ended `exited` without the process having ended.
    const { execId } = this;
    const signal = AbortSignal.timeout(KILL_TIMEOUT_MS);
    await this.task.kill({ execId, signalNumber: SIGKILL, all: execId === "", signal }).catch(ignoreNotFound);
    await this.task.wait({ execId, signal }).catch(ignoreNotFound);
    await this.#remove({ signal });
  }

  async #remove(options?: CallOptions): Promise<void> {
    if (this.#removed) return;
    const deleted = this.execId === "" ? this.task.delete(options) : this.task.deleteProcess(this.execId, options);
    await deleted.catch(ignoreNotFound);
    this.#removed = true;
  }
}

/**
 * This makes and starts the task of a container. After a failure the task is gone and `io` disposed.
 *
 * @throws already_exists - it has a task; not_found - it has no record
 */
export async function startTask(
  client: Client,
  container: Container,
  options: StartTaskOptions,
): Promise<RunningProcess> {
  await using undo = new AsyncDisposableStack();
  let remove = async (): Promise<void> => {};
  undo.defer(() => closeAfter(options.io, remove));
  const { snapshotter, snapshotKey } = container;
  const rootfs = snapshotKey === "" ? [] : await client.snapshotter(snapshotter).mounts(snapshotKey, options);
  const { paths } = options.io;
  const made = client.tasks.create(container.id, {
    io: paths,
    rootfs,
    signal: options.signal,
    ...(options.taskOptions === undefined ? {} : { options: options.taskOptions }),
    ...(options.runtimePath === undefined ? {} : { runtimePath: options.runtimePath }),
    ...(options.checkpoint === undefined ? {} : { checkpoint: options.checkpoint }),
  });
  const task = await made.catch((error: unknown) => {
    if (options.signal?.aborted === true) remove = () => discardUnheard(client.tasks.task(container.id), paths, "");
    throw error;
  });
  remove = () => discard(task);
  await options.beforeStart?.(task);
  // Waiting begins before the start, so that a process which ends at once is not missed.
  const exited = quiet(task.wait({ signal: options.signal }));
  await task.start(options);
  undo.move();
  return new RunningProcess(task, { pid: task.pid, execId: "", exited, io: options.io });
}

/** Options of {@link startExec}. */
export interface StartExecOptions extends CallOptions {
  readonly execId: string;
  readonly process: SpecProcess;
  readonly io: AttachedIo;
}

/** This starts another process in a running task. After a failure it is gone and `io` disposed. @throws not_found, already_exists */
export async function startExec(client: Client, id: string, options: StartExecOptions): Promise<RunningProcess> {
  const { execId, io, process, signal } = options;
  await using undo = new AsyncDisposableStack();
  let remove = async (): Promise<void> => {};
  undo.defer(() => closeAfter(io, remove));
  const task = client.tasks.task(id);
  try {
    await task.exec(execId, { spec: encodeProcess(process), io: io.paths, signal });
  } catch (error) {
    if (signal?.aborted === true) remove = () => discardUnheard(task, io.paths, execId);
    throw error;
  }
  remove = () => discardExec(task, execId);
  const exited = quiet(task.wait({ execId, signal }));
  const pid = await task.start({ execId, signal });
  undo.move();
  return new RunningProcess(task, { pid, execId, exited, io });
}

/** Options of {@link run}. */
export interface RunOptions extends CreateContainerOptions, Omit<StartTaskOptions, "io"> {
  /** Makes the streams, once the container is there; without it the process has none. */
  readonly io?: () => Promise<AttachedIo>;
  /** Remove the container when the process has ended. */
  readonly remove?: boolean;
  /** Called when the process runs: to resize its terminal, to pass on signals. */
  readonly onStarted?: (process: RunningProcess) => void;
}

/**
 * This makes a container, runs it to its end and returns the exit status. The task is always removed; the container when
 * `remove` is set, or when it could not be started.
 *
 * @throws as `createContainer` and `startTask`; canceled - aborted: the process was killed
 */
export async function run(client: Client, options: RunOptions): Promise<number> {
  if (options.id === "") throw invalidArgument("id of the container must not be empty");
  await using undo = new AsyncDisposableStack();
  const container = await createContainer(client, options);
  undo.defer(() => removeContainer(client, container.id).catch(ignoreNotFound));
  const io = (await options.io?.()) ?? nullIo;
  await using process = await startTask(client, container, { ...options, io });
  const keep = options.remove === true ? undefined : undo.move();
  options.onStarted?.(process);
  const status = await process.finish(options);
  // Kept on purpose: what `move` returned is dropped without being disposed.
  void keep;
  return status;
}

/**
 * This discards the process that a call may have made whose answer nobody has waited for. One of the same name that was there before, for which the call was to be refused,
 * stays: it has begun, or has other streams.
 */
async function discardUnheard(task: RemoteTask, { stdin, stdout, stderr }: ProcessIo, execId: string): Promise<void> {
  const state = await task.state({ execId, signal: AbortSignal.timeout(KILL_TIMEOUT_MS) }).catch(ignoreNotFound);
  if (state?.status !== "created") return;
  if (state.stdin !== stdin || state.stdout !== stdout || state.stderr !== stderr) return;
  await (execId === "" ? discard(task) : discardExec(task, execId));
}

/** This removes a process and closes its streams; where it cannot be removed, the daemon being gone, another one may attach to it. */
async function closeAfter(io: AttachedIo, remove: () => Promise<void>): Promise<void> {
  try {
    await remove();
  } catch (error) {
    if (io.leave === undefined) await io[Symbol.asyncDispose]();
    else io.leave();
    throw error;
  }
  await io[Symbol.asyncDispose]();
}

async function discard(task: RemoteTask): Promise<void> {
  const signal = AbortSignal.timeout(KILL_TIMEOUT_MS);
  await task.kill({ signalNumber: SIGKILL, all: true, signal }).catch(ignoreNotFound);
  await task.wait({ signal }).catch(ignoreNotFound);
  await task.delete({ signal }).catch(ignoreNotFound);
}

/** This discards an exec that was not started, or whose start nobody has waited for. */
async function discardExec(task: RemoteTask, execId: string): Promise<void> {
  const signal = AbortSignal.timeout(KILL_TIMEOUT_MS);
  try {
    await task.deleteProcess(execId, { signal });
    return;
  } catch (error) {
    if (isNotFound(error)) return;
  }
  // It could not be deleted because it runs; a shim that is starting it answers when that is over.
  await task.kill({ execId, signalNumber: SIGKILL, signal }).catch(ignoreNotFound);
  await task.wait({ execId, signal }).catch(ignoreNotFound);
  await task.deleteProcess(execId, { signal }).catch(ignoreNotFound);
}

/** Marks a promise as looked after, although whoever awaits it comes later. */
function quiet<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  return promise;
}
