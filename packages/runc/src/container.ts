import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { Options } from "@berth/api/containerd/runc/v1/options";
import {
  TaskExecAddedSchema,
  TaskExecStartedSchema,
  TaskExitSchema,
  TaskPausedSchema,
  TaskResumedSchema,
  TaskStartSchema,
} from "@berth/api/containerd/events/task";
import type { Mount } from "@berth/core/mount";
import type { ExitStatus } from "@berth/linux/process";
import { alreadyExists, failedPrecondition, messageOf, notFound, unknown, wrapError } from "@berth/errors";
import { type Cgroup, cgroupOf } from "@berth/linux/cgroups";
import { mountAll, unmountRecursive } from "@berth/linux/mount";

import { readBundleFacts } from "./bundle.ts";
import { OomWatch } from "./oom-watch.ts";
import type { CheckpointArguments, RuncDriver } from "./runc-driver.ts";
import { DRAIN_TIMEOUT_MS, type ProcessExit, ShimProcess } from "./shim-process.ts";
import { ProcessStdio, type StdioRequest } from "./stdio/process-stdio.ts";
import type { RuncTasksContext } from "./tasks-context.ts";

/** What a container is made of. */
export interface ContainerOptions {
  readonly id: string;
  readonly bundle: string;
  readonly rootfs: readonly Mount[];
  readonly stdio: StdioRequest;
  readonly options: Options;
  /** Directory of a checkpoint to start from. */
  readonly checkpoint?: string | undefined;
}

type Running = "created" | "running" | "pausing" | "paused";
const EXEC_EXIT_GRACE_MS = 10_000;

/** One container: its init process, the further ones, and the runtime's state behind them. */
export class Container {
  readonly id: string;
  readonly bundle: string;
  readonly init: ShimProcess;
  readonly #execs = new Map<string, ShimProcess>();
  readonly #settings: ContainerOptions;
  readonly #context: RuncTasksContext;
  readonly driver: RuncDriver;
  readonly #privatePids: boolean;
  #state: Running = "created";
  #oom: OomWatch | undefined;
  #cgroup: Cgroup | undefined;

  private constructor(settings: ContainerOptions, driver: RuncDriver, context: RuncTasksContext) {
    this.id = settings.id;
    this.bundle = settings.bundle;
    this.#settings = settings;
    this.driver = driver;
    this.#context = context;
    this.#privatePids = readBundleFacts(settings.bundle).privatePidNamespace;
    this.init = new ShimProcess("", settings.stdio, this.#openStdio(settings.stdio));
  }

  /**
   * This mounts the root file system and has the runtime make the container. When it fails nothing is left.
   * @throws unknown - the runtime or a mount failed
   */
  static async create(settings: ContainerOptions, driver: RuncDriver, context: RuncTasksContext): Promise<Container> {
    const container = new Container(settings, driver, context);
    await using undo = new AsyncDisposableStack();
    const rootfs = join(settings.bundle, "rootfs");
    if (settings.rootfs.length > 0) {
      mkdirSync(rootfs, { recursive: true, mode: 0o711 });
      undo.defer(() => unmountRecursive(rootfs));
      mountRootfs(settings.rootfs, rootfs);
    }
    undo.use(container.init.stdio);
    if (!settings.checkpoint) await container.#createInit();
    undo.move();
    return container;
  }

  /** The word for the state of init, which its execs share while they run. */
  get status(): Running | "stopped" {
    return this.init.exit ? "stopped" : this.#state;
  }

  /** The cgroup of init; `undefined` where it was not to be found out. */
  get cgroup(): Cgroup | undefined {
    return this.#cgroup;
  }

  get execs(): ReadonlyMap<string, ShimProcess> {
    return this.#execs;
  }

  /** This returns init for the empty id. @throws not_found */
  process(execId: string): ShimProcess {
    const found = execId === "" ? this.init : this.#execs.get(execId);
    if (!found) throw notFound(`process ${execId} of container ${this.id} does not exist`);
    return found;
  }

  /** This starts init. @throws unknown - it was started before, or the runtime failed */
  async start(): Promise<number> {
    const { init } = this;
    await init.mutex.run(async () => {
      if (init.exit || this.#state !== "created") throw unknown(`cannot start a ${this.status} process`);
      const work = this.#settings.checkpoint
        ? this.#restore(this.#settings.checkpoint)
        : this.driver.start(this.id, this.bundle);
      await init.startWith(
        work.then(() => {
          this.#state = "running";
          this.#context.publish("/tasks/start", TaskStartSchema, { containerId: this.id, pid: init.pid });
        }),
      );
    });
    return init.pid;
  }

  /**
   * This adds a process, which `startExec` starts.
   * @throws already_exists @throws failed_precondition - init has ended
   */
  addExec(execId: string, stdio: StdioRequest, spec: Uint8Array): void {
    if (this.#execs.has(execId)) throw alreadyExists(`process ${execId} of container ${this.id}`);
    if (this.init.exit)
      throw failedPrecondition(`container ${this.id} must be in a created or running state to be exec'd`);
    const added = new ShimProcess(execId, stdio, this.#openStdio(stdio));
    writeFileSync(this.#execFile(execId, "process.json"), spec, { mode: 0o600 });
    this.#execs.set(execId, added);
    this.#context.publish("/tasks/exec-added", TaskExecAddedSchema, { containerId: this.id, execId });
  }

  /** @throws failed_precondition - init has ended @throws unknown - it was started before, or the runtime failed */
  async startExec(execId: string): Promise<number> {
    const exec = this.process(execId);
    await exec.mutex.run(async () => {
      if (exec.pid !== 0 || exec.exit) throw unknown(`cannot start a ${exec.exit ? "stopped" : "running"} process`);
      if (this.init.exit) throw failedPrecondition(`container ${this.id} has ended`);
      try {
        exec.pid = await this.#runExec(exec);
      } catch (error) {
        await exec.stdio[Symbol.asyncDispose]();
        exec.setExit({ status: 255, exitedAt: new Date() });
        exec.announceExit();
        throw error;
      }
      const { pid } = exec;
      this.#context.publish("/tasks/exec-started", TaskExecStartedSchema, { containerId: this.id, execId, pid });
      this.#watch(exec, (status) => this.#onExit(exec, status));
    });
    return exec.pid;
  }

  /** @throws not_found - the process has ended @throws failed_precondition - the exec was not started */
  async kill(execId: string, signal: number, options: { readonly all?: boolean } = {}): Promise<void> {
    const target = this.process(execId);
    if (target.exit) throw notFound("process already finished");
    if (execId === "") {
      await this.driver.kill(this.id, signal, options);
      return;
    }
    if (target.pid === 0) throw failedPrecondition(`process ${execId} is not started`);
    try {
      process.kill(target.pid, signal);
    } catch (error) {
      throw notFound("process already finished", { cause: error });
    }
  }

  async pause(): Promise<void> {
    await this.init.mutex.run(async () => {
      if (this.status !== "running") throw unknown(`cannot pause a ${this.status} process`);
      this.#state = "pausing";
      try {
        await this.driver.pause(this.id);
      } catch (error) {
        this.#state = "running";
        throw error;
      }
      this.#state = "paused";
      this.#context.publish("/tasks/paused", TaskPausedSchema, { containerId: this.id });
    });
  }

  async resume(): Promise<void> {
    await this.init.mutex.run(async () => {
      if (this.status !== "paused") throw unknown(`cannot resume a ${this.status} process`);
      await this.driver.resume(this.id);
      this.#state = "running";
      this.#context.publish("/tasks/resumed", TaskResumedSchema, { containerId: this.id });
    });
  }

  /** This removes a process that has ended. @throws unknown - it runs */
  async deleteExec(execId: string): Promise<ProcessExit | undefined> {
    const exec = this.process(execId);
    return await exec.mutex.run(async () => {
      if (exec.pid !== 0 && !exec.exit) throw unknown("cannot delete a running process");
      await exec.stdio.drain(DRAIN_TIMEOUT_MS);
      await exec.stdio[Symbol.asyncDispose]();
      rmSync(this.#execFile(exec.execId, "process.json"), { force: true });
      this.#execs.delete(execId);
      return exec.exit;
    });
  }

  /** This removes the container: the runtime's state, the streams, the mounts. @throws unknown - init runs */
  async delete(): Promise<void> {
    const { init } = this;
    await init.mutex.run(async () => {
      if (!init.exit && this.#state !== "created") throw unknown("cannot delete a running process");
      const removal = this.driver.delete(this.id, { force: !init.exit });
      await Promise.all([removal, init.exit ? init.stdio.drain(DRAIN_TIMEOUT_MS) : undefined]);
      // a container that never ran is ended by its deletion
      if (init.pid !== 0) await init.exited;
      for (const exec of this.#execs.values()) await exec.stdio[Symbol.asyncDispose]();
      await init.stdio[Symbol.asyncDispose]();
      await unmountRecursive(join(this.bundle, "rootfs"));
    });
  }

  /** This frees what the shim itself holds of the container, which lives on. */
  async abandon(): Promise<void> {
    this.#oom?.[Symbol.dispose]();
    for (const process of [this.init, ...this.#execs.values()]) await process.stdio[Symbol.asyncDispose]();
  }

  async #createInit(): Promise<void> {
    const { init, bundle } = this;
    const { noPivotRoot, noNewKeyring } = this.#settings.options;
    await init.stdio.start(async (stdio, consoleSocket) => {
      const pidFile = join(bundle, "init.pid");
      init.pid = await this.driver.create(this.id, {
        bundle,
        pidFile,
        stdio,
        consoleSocket,
        noPivotRoot,
        noNewKeyring,
      });
      // before anything else can fail: the process is a child of this one from now on
      this.#watch(init, (status) => this.#onInitExit(status));
    });
    this.#watchCgroup();
  }

  #watchCgroup(): void {
    const { log } = this.#context;
    try {
      this.#cgroup = cgroupOf(this.init.pid);
      this.#oom = new OomWatch(this.id, this.#cgroup, this.#context);
    } catch (error) {
      log.debug("no OOM events", { id: this.id, error: messageOf(error) });
    }
  }

  async #restore(imagePath: string): Promise<void> {
    const { init, bundle } = this;
    const { noPivotRoot, noNewKeyring, criuWorkPath } = this.#settings.options;
    const checkpoint: CheckpointArguments = { imagePath, workPath: criuWorkPath || join(bundle, "work") };
    await init.stdio.start(async (stdio, consoleSocket) => {
      const pidFile = join(bundle, "init.pid");
      const common = { bundle, pidFile, stdio, consoleSocket, noPivotRoot, noNewKeyring };
      init.pid = await this.driver.restore(this.id, { ...common, checkpoint });
      this.#watch(init, (status) => this.#onInitExit(status));
    });
    this.#watchCgroup();
  }

  async #runExec(exec: ShimProcess): Promise<number> {
    const { bundle, id } = this;
    const [processFile, pidFile, logFile] = ["process.json", "pid", "log.json"].map((kind) =>
      this.#execFile(exec.execId, kind),
    );
    const files = { processFile: processFile ?? "", pidFile: pidFile ?? "", logFile: logFile ?? "" };
    let pid = 0;
    try {
      await exec.stdio.start(async (stdio, consoleSocket) => {
        pid = await this.driver.exec(id, { bundle, ...files, stdio, consoleSocket });
      });
      return pid;
    } finally {
      for (const file of Object.values(files)) rmSync(file, { force: true });
    }
  }

  #watch(process: ShimProcess, onExit: (status: ExitStatus) => Promise<void>): void {
    const { log, reaper } = this.#context;
    const failed = (error: unknown): void =>
      log.error("exit not handled", { id: this.id, execId: process.execId, error: messageOf(error) });
    reaper.wait(process.pid).then(onExit).catch(failed);
  }

  async #onInitExit(status: ExitStatus): Promise<void> {
    this.#oom?.checkAtExit();
    this.#record(this.init, status);
    if (!this.#privatePids) await this.#killRemaining();
    const others = [...this.#execs.values()].filter((exec) => exec.pid !== 0).map((exec) => exec.exited);
    await Promise.race([Promise.all(others), sleep(EXEC_EXIT_GRACE_MS, undefined, { ref: false })]);
    await this.#onExit(this.init, status);
  }

  async #onExit(process: ShimProcess, status: ExitStatus): Promise<void> {
    await process.started;
    this.#record(process, status);
    const { at, status: exitStatus } = process.setExit(status);
    process.stdio.stopInput();
    this.#context.publish("/tasks/exit", TaskExitSchema, {
      containerId: this.id,
      id: process.execId || this.id,
      pid: process.pid,
      exitStatus,
      exitedAt: timestampFromDate(at),
    });
    process.announceExit();
  }

  #record(process: ShimProcess, { status, exitedAt }: ExitStatus): void {
    const { execId, pid } = process;
    try {
      this.#context.recordExit(this.bundle, { id: this.id, execId, pid, exitStatus: status, exitedAt });
    } catch (error) {
      // the event still tells it, if the daemon is there
      this.#context.log.error("exit not recorded", { id: this.id, execId, error: messageOf(error) });
    }
  }

  async #killRemaining(): Promise<void> {
    try {
      await this.driver.kill(this.id, constants.signals.SIGKILL, { all: true });
    } catch (error) {
      this.#context.log.debug("no process left to kill", { id: this.id, error: messageOf(error) });
    }
  }

  #openStdio(request: StdioRequest): ProcessStdio {
    const { reaper, log, namespace } = this.#context;
    const { ioUid, ioGid } = this.#settings.options;
    return ProcessStdio.create(request, { id: this.id, namespace, reaper, log, ioUid, ioGid });
  }

  #execFile(execId: string, kind: string): string {
    return join(this.bundle, `${execId}.${kind}`);
  }
}

function mountRootfs(mounts: readonly Mount[], rootfs: string): void {
  try {
    mountAll(mounts, rootfs);
  } catch (error) {
    throw wrapError(error, "failed to mount rootfs component");
  }
}
