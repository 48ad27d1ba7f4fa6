import type { AnyValue, CallOptions } from "./any.ts";
import type { Mount } from "./mount.ts";
import type { Namespace } from "./namespaces.ts";

/** States of a process; the names are those of containerd. */
export type ProcessStatus = "unknown" | "created" | "running" | "stopped" | "paused" | "pausing";

/** Where the three standard streams of a process go: FIFO paths or `file://`, `binary://` URLs; empty for none. */
export interface ProcessIo {
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly terminal: boolean;
}

/** How a process ended. `exitedAtNs` is nanoseconds since 1970. */
export interface ExitStatus {
  readonly pid: number;
  /** Exit code, or 128 plus the signal. */
  readonly exitStatus: number;
  readonly exitedAtNs: bigint;
}

/** What a shim says of a process. */
export interface ProcessState extends ProcessIo {
  /** Id of the container. */
  readonly id: string;
  /** Empty for the init process. */
  readonly execId: string;
  readonly bundle: string;
  readonly pid: number;
  readonly status: ProcessStatus;
  readonly exitStatus: number;
  readonly exitedAtNs: bigint;
}

/** A process of a task as seen from the host; `info` is there for processes that berth started. */
export interface ProcessInfo {
  readonly pid: number;
  readonly info?: AnyValue;
}

/** What is needed to make a task. */
export interface TaskCreateOptions extends CallOptions {
  readonly spec: AnyValue;
  readonly io: ProcessIo;
  readonly rootfs: readonly Mount[];
  /** Directory of a checkpoint to start from; empty for none. */
  readonly checkpoint: string;
  /** Name of the runtime, `io.containerd.runc.v2`. */
  readonly runtime: string;
  /** Binary that replaces the one that the runtime's name leads to. */
  readonly runtimePath?: string;
  readonly runtimeOptions?: AnyValue;
  readonly taskOptions?: AnyValue;
  /** Sandbox whose shim takes the task. */
  readonly sandboxId: string;
  /** Endpoint of a sandbox that takes the task, `<ttrpc|grpc>+unix://…`, with its API version. */
  readonly taskApiAddress?: string;
  readonly taskApiVersion?: number;
}

/** Options of {@link Task.exec}. */
export interface ExecOptions extends CallOptions {
  readonly spec: AnyValue;
  readonly io: ProcessIo;
}

/** Names a process of a task: empty for init. */
export interface ProcessRef extends CallOptions {
  readonly execId?: string;
}

/**
 * The processes of one container. All calls are answered by its shim.
 *
 * @throws not_found - from every call, when the task or the process named is gone
 * @see containerd core/runtime/task.go, Task
 */
export interface Task {
  readonly id: string;
  readonly namespace: Namespace;
  /** This starts init, or the exec named, and returns its pid. */
  start(options?: ProcessRef): Promise<number>;
  state(options?: ProcessRef): Promise<ProcessState>;
  /** This sends a signal, by its number, to the process named or to all of the container. */
  kill(options: ProcessRef & { readonly signalNumber: number; readonly all?: boolean }): Promise<void>;
  exec(execId: string, options: ExecOptions): Promise<void>;
  resizePty(options: ProcessRef & { readonly width: number; readonly height: number }): Promise<void>;
  closeIo(options?: ProcessRef): Promise<void>;
  pause(options?: CallOptions): Promise<void>;
  resume(options?: CallOptions): Promise<void>;
  pids(options?: CallOptions): Promise<readonly ProcessInfo[]>;
  checkpoint(path: string, options: CallOptions & { readonly checkpointOptions?: AnyValue }): Promise<void>;
  update(
    resources: AnyValue,
    options?: CallOptions & { readonly annotations?: ReadonlyMap<string, string> },
  ): Promise<void>;
  stats(options?: CallOptions): Promise<AnyValue>;
  wait(options?: ProcessRef): Promise<ExitStatus>;
  /** This removes an exec that has ended. */
  deleteProcess(execId: string, options?: CallOptions): Promise<ExitStatus>;
}

/**
 * Makes and finds tasks, over shims.
 *
 * @see containerd core/runtime/runtime.go, PlatformRuntime
 */
export interface TaskRuntime {
  /** @throws already_exists, not_found - no such runtime, invalid_argument */
  create(namespace: Namespace, id: string, options: TaskCreateOptions): Promise<Task>;
  /** @throws not_found */
  get(namespace: Namespace, id: string): Task;
  list(namespace: Namespace): readonly Task[];
  /** This removes a stopped task with its bundle and, when it was the last, its shim. @throws not_found, failed_precondition - still running */
  delete(namespace: Namespace, id: string, options?: CallOptions): Promise<ExitStatus>;
}
