import type { AnyValue, CallOptions } from "@berth/core/any";
import { type Namespace, validateIdentifier } from "@berth/core/namespaces";
import type {
  ExecOptions,
  ExitStatus,
  ProcessInfo,
  ProcessRef,
  ProcessState,
  Task,
  TaskCreateOptions,
} from "@berth/core/runtime";
import { toProtoLabels } from "@berth/core/labels";
import { toProtoMount } from "@berth/core/mount";
import { notFound } from "@berth/errors";
import type { CallOptions as RpcCallOptions } from "@connectrpc/connect";

import type { Bundle } from "./bundle.ts";
import type { ShimConnection, TaskClient } from "./shim-connection.ts";
import { fromProtoExit, fromProtoProcessInfo, fromProtoState, optionalAny } from "./task-messages.ts";

// A shim answers within a second or so; creating on a slow disk, draining output (10 s) and CRIU take longer.
const QUICK_MS = 30_000;
const SLOW_MS = 120_000;
const CHECKPOINT_MS = 600_000;

/** What a task is made of. */
export interface ShimTaskParts {
  readonly bundle: Bundle;
  readonly binary: string | undefined;
  readonly connection: ShimConnection;
  /** Released with the task: the copy of the shim's log. */
  readonly resources: AsyncDisposableStack;
}

/** A task in a shim that lives. Its runtime owns it, and settles {@link ShimTask.ended} and {@link ShimTask.lost} when the shim dies. */
export class ShimTask implements Task {
  readonly bundle: Bundle;
  readonly binary: string | undefined;
  readonly connection: ShimConnection;
  readonly resources: AsyncDisposableStack;
  /** How the container ended, once its shim is found dead and its processes are gone. */
  readonly ended = Promise.withResolvers<ExitStatus>();
  /** The same, once nothing is left of it. */
  readonly lost = Promise.withResolvers<ExitStatus>();
  /** Set when the task is taken from the list: the end of the connection then means nothing. */
  isRemoved = false;
  /** Set when an earlier daemon made it: init may have ended while none was there. */
  isTakenOver = false;
  /** Whether the exit event of init was published. */
  isExitSent = false;
  /** Execs that were found ended, and whose exit events the shim may still send. */
  readonly exitsAwaited = new Set<string>();

  constructor({ bundle, binary, connection, resources }: ShimTaskParts) {
    this.bundle = bundle;
    this.binary = binary;
    this.connection = connection;
    this.resources = resources;
  }

  get id(): string {
    return this.bundle.id;
  }

  get namespace(): Namespace {
    return this.bundle.namespace;
  }

  /** This has the shim create the container and returns the pid of init. */
  async create(options: TaskCreateOptions): Promise<number> {
    const { io, rootfs, checkpoint } = options;
    const request = {
      id: this.id,
      bundle: this.bundle.path,
      rootfs: rootfs.map(toProtoMount),
      checkpoint,
      ...io,
      ...optionalAny("options", effectiveOptions(options)),
    };
    const limits = { signal: options.signal, timeoutMs: SLOW_MS };
    return (await this.connection.call((tasks, rpc) => tasks.create(request, rpc), limits)).pid;
  }

  /** This asks the shim whether it is there, and in which version. */
  async connect(options: CallOptions): Promise<void> {
    await this.#call((tasks, rpc) => tasks.connect({ id: this.id }, rpc), options, QUICK_MS);
  }

  async start({ execId = "", ...options }: ProcessRef = {}): Promise<number> {
    const { pid } = await this.#call((tasks, rpc) => tasks.start({ id: this.id, execId }, rpc), options, SLOW_MS);
    return pid;
  }

  async state({ execId = "", ...options }: ProcessRef = {}): Promise<ProcessState> {
    const state = await this.#call((tasks, rpc) => tasks.state({ id: this.id, execId }, rpc), options, QUICK_MS);
    return { ...fromProtoState(state), id: this.id, execId };
  }

  async kill(options: ProcessRef & { readonly signalNumber: number; readonly all?: boolean }): Promise<void> {
    const { execId = "", signalNumber, all = false, ...rest } = options;
    const request = { id: this.id, execId, signal: signalNumber, all };
    await this.#call((tasks, rpc) => tasks.kill(request, rpc), rest, QUICK_MS);
  }

  /** @throws invalid_argument - the id is no identifier: shims name files by it */
  async exec(execId: string, { spec, io, ...options }: ExecOptions): Promise<void> {
    validateIdentifier(execId, "exec id");
    await this.#call((tasks, rpc) => tasks.exec({ id: this.id, execId, spec, ...io }, rpc), options, QUICK_MS);
  }

  async resizePty(options: ProcessRef & { readonly width: number; readonly height: number }): Promise<void> {
    const { execId = "", width, height, ...rest } = options;
    await this.#call((tasks, rpc) => tasks.resizePty({ id: this.id, execId, width, height }, rpc), rest, QUICK_MS);
  }

  async closeIo({ execId = "", ...options }: ProcessRef = {}): Promise<void> {
    const request = { id: this.id, execId, stdin: true };
    await this.#call((tasks, rpc) => tasks.closeIO(request, rpc), options, QUICK_MS);
  }

  async pause(options: CallOptions = {}): Promise<void> {
    await this.#call((tasks, rpc) => tasks.pause({ id: this.id }, rpc), options, QUICK_MS);
  }

  async resume(options: CallOptions = {}): Promise<void> {
    await this.#call((tasks, rpc) => tasks.resume({ id: this.id }, rpc), options, QUICK_MS);
  }

  async pids(options: CallOptions = {}): Promise<readonly ProcessInfo[]> {
    const { processes } = await this.#call((tasks, rpc) => tasks.pids({ id: this.id }, rpc), options, QUICK_MS);
    return processes.map(fromProtoProcessInfo);
  }

  async checkpoint(
    path: string,
    { checkpointOptions, ...options }: CallOptions & { readonly checkpointOptions?: AnyValue },
  ): Promise<void> {
    const request = { id: this.id, path, ...optionalAny("options", checkpointOptions) };
    await this.#call((tasks, rpc) => tasks.checkpoint(request, rpc), options, CHECKPOINT_MS);
  }

  async update(
    resources: AnyValue,
    { annotations = new Map(), ...options }: CallOptions & { readonly annotations?: ReadonlyMap<string, string> } = {},
  ): Promise<void> {
    const request = { id: this.id, resources, annotations: toProtoLabels(annotations) };
    await this.#call((tasks, rpc) => tasks.update(request, rpc), options, QUICK_MS);
  }

  async stats(options: CallOptions = {}): Promise<AnyValue> {
    const { stats } = await this.#call((tasks, rpc) => tasks.stats({ id: this.id }, rpc), options, QUICK_MS);
    if (stats === undefined) throw notFound(`no metrics of task ${this.id}`);
    return stats;
  }

  /** This also answers when the shim dies: with what its binary found out about the container. */
  async wait({ execId = "", ...options }: ProcessRef = {}): Promise<ExitStatus> {
    try {
      return fromProtoExit(
        await this.#call((tasks, rpc) => tasks.wait({ id: this.id, execId }, rpc), options, undefined),
      );
    } catch (error) {
      if (!this.connection.isClosed || this.isRemoved || execId !== "") throw error;
      return await this.ended.promise;
    }
  }

  async deleteProcess(execId: string, options: CallOptions = {}): Promise<ExitStatus> {
    return fromProtoExit(
      await this.#call((tasks, rpc) => tasks.delete({ id: this.id, execId }, rpc), options, SLOW_MS),
    );
  }

  /** This tells the shim that its task is gone; it ends unless it has others. */
  async shutdown({ timeoutMs, ...options }: CallOptions & { readonly timeoutMs: number }): Promise<void> {
    await this.#call((tasks, rpc) => tasks.shutdown({ id: this.id }, rpc), options, timeoutMs);
  }

  async #call<T>(
    call: (tasks: TaskClient, options: RpcCallOptions) => Promise<T>,
    { signal }: CallOptions,
    timeoutMs: number | undefined,
  ): Promise<T> {
    try {
      return await this.connection.call(call, { signal, timeoutMs });
    } catch (error) {
      signal?.throwIfAborted();
      if (this.connection.isClosed) throw notFound(`task ${this.id}: its shim is gone`, { cause: error });
      throw error;
    }
  }
}

/** The options for a shim: those of this task, else those of its container. */
export function effectiveOptions({ taskOptions, runtimeOptions }: TaskCreateOptions): AnyValue | undefined {
  return taskOptions === undefined || taskOptions.value.length === 0 ? runtimeOptions : taskOptions;
}
