import type { Client, Transport } from "@connectrpc/connect";
import type { DeleteResponse } from "@berth/api/containerd/services/tasks/v1/tasks";
import { Tasks } from "@berth/api/containerd/services/tasks/v1/tasks";
import { Status } from "@berth/api/containerd/v1/types/task";
import type { Process } from "@berth/api/containerd/v1/types/task";
import type { AnyValue, CallOptions } from "@berth/core/any";
import { toProtoMount } from "@berth/core/mount";
import type { Mount } from "@berth/core/mount";
import type {
  ExecOptions,
  ExitStatus,
  ProcessInfo,
  ProcessIo,
  ProcessRef,
  ProcessState,
  ProcessStatus,
} from "@berth/core/runtime";
import { fromProtoTimestamp, fromProtoTimestampNs } from "@berth/core/timestamp";
import { toProtoDescriptor } from "@berth/core/proto-descriptor";
import { notFound } from "@berth/errors";
import type { Descriptor } from "@berth/oci";
import { createClient } from "@berth/rpc/client";

import { callOptions } from "./call-options.ts";
import { fromProtoAny, fromProtoDescriptor, present, toProtoAny } from "./wire-values.ts";

/** What is needed to make a task; its spec and runtime stand in the container's record. */
export interface CreateTaskOptions extends CallOptions {
  readonly io: ProcessIo;
  readonly rootfs: readonly Mount[];
  /** A checkpoint to start from. */
  readonly checkpoint?: Descriptor;
  /** Binary that replaces the one that the runtime's name leads to. */
  readonly runtimePath?: string;
  /** Options of the task, for runc a `containerd.runc.v1.Options`. */
  readonly options?: AnyValue;
  readonly taskApiAddress?: string;
  readonly taskApiVersion?: number;
}

/** What a task uses, as its shim measured it. `timestamp` is milliseconds since 1970. */
export interface TaskMetrics {
  readonly id: string;
  readonly timestamp: number;
  readonly data: AnyValue;
}

/** How a process ended; the id is that of the container, or of the exec. */
export interface DeletedProcess extends ExitStatus {
  readonly id: string;
}

/** The tasks of one namespace: `TaskRuntime` as it looks over the socket. */
export interface TasksClient {
  /** This makes the task of a container, not yet started. @throws already_exists, not_found, invalid_argument */
  create(id: string, options: CreateTaskOptions): Promise<RemoteTask>;
  /** This gives access to a task without asking whether it is there. */
  task(id: string): RemoteTask;
  /** This asks for a task. @throws not_found */
  get(id: string, options?: CallOptions): Promise<ProcessState>;
  /** This lists the init processes of all tasks. */
  list(options?: CallOptions): AsyncIterable<ProcessState>;
  /** This removes a stopped task. @throws not_found, failed_precondition - still running */
  delete(id: string, options?: CallOptions): Promise<DeletedProcess>;
  /** This measures the tasks that any of the filters (`id`, `namespace`) matches. */
  metrics(filters: readonly string[], options?: CallOptions): Promise<readonly TaskMetrics[]>;
}

/** This makes a tasks client over `transport`, in the namespace that the transport adds. */
export function createTasksClient(transport: Transport): TasksClient {
  return new RemoteTaskRuntime(createClient(Tasks, transport));
}

class RemoteTaskRuntime implements TasksClient {
  readonly #client: Client<typeof Tasks>;

  constructor(client: Client<typeof Tasks>) {
    this.#client = client;
  }

  async create(id: string, options: CreateTaskOptions): Promise<RemoteTask> {
    const { io, rootfs, checkpoint, runtimePath = "", taskApiAddress = "", taskApiVersion = 0 } = options;
    const { pid } = await this.#client.create(
      {
        containerId: id,
        rootfs: rootfs.map(toProtoMount),
        stdin: io.stdin,
        stdout: io.stdout,
        stderr: io.stderr,
        terminal: io.terminal,
        ...(checkpoint === undefined ? {} : { checkpoint: toProtoDescriptor(checkpoint) }),
        ...(options.options === undefined ? {} : { options: toProtoAny(options.options) }),
        runtimePath,
        taskApiAddress,
        taskApiVersion,
      },
      callOptions(options),
    );
    return new RemoteTask(this.#client, id, pid);
  }

  task(id: string): RemoteTask {
    return new RemoteTask(this.#client, id, 0);
  }

  get(id: string, options?: CallOptions): Promise<ProcessState> {
    return this.task(id).state(options);
  }

  async *list(options?: CallOptions): AsyncIterable<ProcessState> {
    const { tasks } = await this.#client.list({}, callOptions(options));
    yield* tasks.map((process) => fromProtoProcess(process, process.id, ""));
  }

  async delete(id: string, options?: CallOptions): Promise<DeletedProcess> {
    return fromProtoExit(await this.#client.delete({ containerId: id }, callOptions(options)));
  }

  async metrics(filters: readonly string[], options?: CallOptions): Promise<readonly TaskMetrics[]> {
    const { metrics } = await this.#client.metrics({ filters: [...filters] }, callOptions(options));
    return metrics.map(({ id, timestamp, data }) => ({
      id,
      timestamp: fromProtoTimestamp(timestamp),
      data: fromProtoAny(present(data, "metrics")),
    }));
  }
}

/** The processes of one container; each call asks the peer. @throws not_found - the task or the process named is gone */
export class RemoteTask {
  readonly id: string;
  /** The pid that `create` told, 0 where it is not known. */
  readonly pid: number;
  readonly #client: Client<typeof Tasks>;

  constructor(client: Client<typeof Tasks>, id: string, pid: number) {
    this.#client = client;
    this.id = id;
    this.pid = pid;
  }

  /** This starts init, or the exec named, and returns its pid. */
  async start(options?: ProcessRef): Promise<number> {
    const { pid } = await this.#client.start(this.#process(options), callOptions(options));
    return pid;
  }

  /** This asks how the process named is, init unless told. */
  async state(options?: ProcessRef): Promise<ProcessState> {
    const { process } = await this.#client.get(this.#process(options), callOptions(options));
    return fromProtoProcess(present(process, "process"), this.id, options?.execId ?? "");
  }

  /** This sends a signal, by its number, to the process named or to all of the container. */
  async kill(options: ProcessRef & { readonly signalNumber: number; readonly all?: boolean }): Promise<void> {
    await this.#client.kill(
      { ...this.#process(options), signal: options.signalNumber, all: options.all ?? false },
      callOptions(options),
    );
  }

  /** This adds a process, not yet started. @throws already_exists, failed_precondition - init has ended */
  async exec(execId: string, options: ExecOptions): Promise<void> {
    const { stdin, stdout, stderr, terminal } = options.io;
    await this.#client.exec(
      { containerId: this.id, execId, stdin, stdout, stderr, terminal, spec: toProtoAny(options.spec) },
      callOptions(options),
    );
  }

  /** This tells the size of the terminal of the process named. */
  async resizePty(options: ProcessRef & { readonly width: number; readonly height: number }): Promise<void> {
    const { width, height } = options;
    await this.#client.resizePty({ ...this.#process(options), width, height }, callOptions(options));
  }

  /** This closes the process's standard input. */
  async closeIo(options?: ProcessRef): Promise<void> {
    await this.#client.closeIO({ ...this.#process(options), stdin: true }, callOptions(options));
  }

  /** This freezes all processes of the container. */
  async pause(options?: CallOptions): Promise<void> {
    await this.#client.pause({ containerId: this.id }, callOptions(options));
  }

  /** This lets them go on. */
  async resume(options?: CallOptions): Promise<void> {
    await this.#client.resume({ containerId: this.id }, callOptions(options));
  }

  /** This lists the processes of the container, by their pids on the host. */
  async pids(options?: CallOptions): Promise<readonly ProcessInfo[]> {
    const { processes } = await this.#client.listPids({ containerId: this.id }, callOptions(options));
    return processes.map(({ pid, info }) => ({ pid, ...(info === undefined ? {} : { info: fromProtoAny(info) }) }));
  }

  /** This writes a checkpoint to the content store and returns what was stored, nothing if the options name a directory. */
  async checkpoint(
    options: CallOptions & { readonly checkpointOptions?: AnyValue } = {},
  ): Promise<readonly Descriptor[]> {
    const wire = options.checkpointOptions;
    const { descriptors } = await this.#client.checkpoint(
      { containerId: this.id, ...(wire === undefined ? {} : { options: toProtoAny(wire) }) },
      callOptions(options),
    );
    return descriptors.map(fromProtoDescriptor);
  }

  /** This changes the limits of a running container: an OCI `LinuxResources`, as `encodeLinuxResources` of `@berth/oci/spec` makes it. */
  async update(
    resources: AnyValue,
    options: CallOptions & { readonly annotations?: ReadonlyMap<string, string> } = {},
  ): Promise<void> {
    await this.#client.update(
      {
        containerId: this.id,
        resources: toProtoAny(resources),
        annotations: Object.fromEntries(options.annotations ?? []),
      },
      callOptions(options),
    );
  }

  /** @throws not_found - the task is gone, or has no cgroup */
  async stats(options?: CallOptions): Promise<AnyValue> {
    const { metrics } = await this.#client.metrics({ filters: [`id==${this.id}`] }, callOptions(options));
    const metric = metrics.find(({ id }) => id === this.id);
    if (metric === undefined) throw notFound(`metrics of task ${this.id}`);
    return fromProtoAny(present(metric.data, "metrics"));
  }

  /** This resolves when the process has ended. `pid` is 0: the answer does not hold it. */
  async wait(options?: ProcessRef): Promise<ExitStatus> {
    const { exitStatus, exitedAt } = await this.#client.wait(this.#process(options), callOptions(options));
    return { pid: 0, exitStatus, exitedAtNs: fromProtoTimestampNs(exitedAt) };
  }

  /** This removes the stopped task. */
  async delete(options?: CallOptions): Promise<DeletedProcess> {
    return fromProtoExit(await this.#client.delete({ containerId: this.id }, callOptions(options)));
  }

  /** This removes an exec that has ended. */
  async deleteProcess(execId: string, options?: CallOptions): Promise<DeletedProcess> {
    return fromProtoExit(await this.#client.deleteProcess({ containerId: this.id, execId }, callOptions(options)));
  }

  #process(options: ProcessRef | undefined) {
    return { containerId: this.id, execId: options?.execId ?? "" };
  }
}

const STATUS: Readonly<Record<number, ProcessStatus>> = {
  [Status.CREATED]: "created",
  [Status.RUNNING]: "running",
  [Status.STOPPED]: "stopped",
  [Status.PAUSED]: "paused",
  [Status.PAUSING]: "pausing",
};

function fromProtoProcess(process: Process, id: string, execId: string): ProcessState {
  const { pid, status, stdin, stdout, stderr, terminal, exitStatus, exitedAt } = process;
  return {
    id,
    execId,
    // The service does not tell where the bundle is.
    bundle: "",
    pid,
    status: STATUS[status] ?? "unknown",
    stdin,
    stdout,
    stderr,
    terminal,
    exitStatus,
    exitedAtNs: fromProtoTimestampNs(exitedAt),
  };
}

function fromProtoExit({ id, pid, exitStatus, exitedAt }: DeleteResponse): DeletedProcess {
  return { id, pid, exitStatus, exitedAtNs: fromProtoTimestampNs(exitedAt) };
}
