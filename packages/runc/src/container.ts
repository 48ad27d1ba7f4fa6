import { mkdirSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";

import { TaskPausedSchema, TaskResumedSchema, TaskStartSchema } from "@berth/api/containerd/events/task";
import type { ExitStatus } from "@berth/linux/process";
import { failedPrecondition, messageOf, notFound, unknown } from "@berth/errors";
import type { Cgroup } from "@berth/linux/cgroups";
import { unmountRecursive } from "@berth/linux/mount";

import { mountRootfs } from "./bundle.ts";
import { BundleIdentity } from "./bundle-identity.ts";
import { enableControllers } from "./cgroups/enable-controllers.ts";
import { CgroupWatch } from "./cgroup-watch.ts";
import type { ContainerOptions } from "./container-options.ts";
import { Creation } from "./creation.ts";
import { ExecProcesses } from "./exec-processes.ts";
import { ExitNews } from "./exit-news.ts";
import { criuWorkPath, lockCriuWorkPath } from "./criu-mounts.ts";
import type { CreateOptions, RuncDriver } from "./runc-driver.ts";
import { DRAIN_TIMEOUT_MS, ShimProcess } from "./shim-process.ts";
import { ProcessStdio, type StdioRequest } from "./stdio/process-stdio.ts";
import type { RuncTasksContext } from "./tasks-context.ts";

type Running = "created" | "running" | "pausing" | "paused";
const EXEC_EXIT_GRACE_MS = 10_000;
/** What is meant to end a process; any other signal has nobody to go to yet in a restore. */
const ENDING: ReadonlySet<number> = new Set([constants.signals.SIGTERM, constants.signals.SIGKILL]);

/** One container: its init process, the further ones, and the runtime's state behind them. */
export class Container {
  readonly id: string;
  readonly bundle: string;
  readonly init: ShimProcess;
  readonly execs: ExecProcesses;
  readonly #settings: ContainerOptions;
  readonly #context: RuncTasksContext;
  readonly driver: RuncDriver;
  readonly #news: ExitNews;
  readonly #cgroup: CgroupWatch;
  readonly #identity: BundleIdentity;
  readonly #initEnded = new AbortController();
  #state: Running = "created";
  #creation: Creation | undefined;
  /** Gives up the restore that is under way. */
  #restoring: AbortController | undefined;

  private constructor(settings: ContainerOptions, driver: RuncDriver, context: RuncTasksContext) {
    this.id = settings.id;
    this.bundle = settings.bundle;
    this.#settings = settings;
    this.driver = driver;
    this.#context = context;
    this.#identity = new BundleIdentity(settings.bundle);
    this.#news = new ExitNews(settings, context);
    this.#cgroup = new CgroupWatch(settings.id, context);
    const openStdio = (request: StdioRequest): ProcessStdio => this.#openStdio(request);
    this.execs = new ExecProcesses({ ...settings, driver, context, news: this.#news, openStdio });
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
      await mountRootfs(settings.rootfs, rootfs);
    }
    undo.use(container.init.stdio);
    undo.defer(() => container.#removeCreated());
    await container.init.startWith(container.#createUnlessRestored());
    undo.move();
    return container;
  }

  /** The sandbox it belongs to, if any. */
  get sandboxId(): string | undefined {
    return this.#settings.facts.sandboxId;
  }

  /** Whether it has a process, or is being restored and will have one. */
  get isAlive(): boolean {
    return !this.init.exit && (this.init.pid !== 0 || this.#restoring !== undefined);
  }

  /** Resolves when it is no longer {@link isAlive}; for one that is being restored also when that has come to an end. */
  get ended(): Promise<unknown> {
    return this.init.pid === 0 ? this.init.started : this.init.exited;
  }

  /** The word for the state of init, which its execs share while they run. */
  get status(): Running | "stopped" {
    return this.init.exit ? "stopped" : this.#state;
  }

  /** Whether somebody else has removed it: nothing of it runs, and its bundle is gone. */
  get isForsaken(): boolean {
    return (!!this.init.exit || (this.init.pid === 0 && !this.#restoring)) && this.#identity.isGone;
  }

  /** The cgroup of init; `undefined` where it was not to be found out. */
  get cgroup(): Cgroup | undefined {
    return this.#cgroup.find(this.init.pid);
  }

  /** This returns init for the empty id. @throws not_found */
  process(execId: string): ShimProcess {
    return execId === "" ? this.init : this.execs.get(execId);
  }

  /** This starts init. @throws unknown - it was started before, or the runtime failed */
  async start(): Promise<number> {
    const { init } = this;
    await init.turns.run(async () => {
      const ended = this.#initEnded.signal;
      if (init.exit || this.#state !== "created") throw unknown(`cannot start a ${this.status} process`);
      this.#cgroup.find(init.pid);
      const work = this.#settings.checkpoint
        ? this.#restore(this.#settings.checkpoint)
        : this.driver.start(this.id, { bundle: this.bundle, init: { pid: init.pid, ended } });
      await init.startWith(
        work.then(() => {
          this.#state = "running";
          this.#context.publish("/tasks/start", TaskStartSchema, { containerId: this.id, pid: init.pid });
        }),
      );
    });
    return init.pid;
  }

  /** This adds a process. @throws already_exists @throws failed_precondition - init has ended @throws unknown - it is paused, or to be restored */
  addExec(execId: string, stdio: StdioRequest, spec: Uint8Array): void {
    this.#checkAlive();
    if (this.#settings.checkpoint && this.#state === "created")
      throw unknown(`cannot exec in a ${this.status} container that is to be restored`);
    if (this.#state === "paused" || this.#state === "pausing") throw unknown(`cannot exec in a ${this.status} state`);
    this.execs.add(execId, stdio, spec);
  }

  /** @throws failed_precondition - init has ended @throws unknown - it was started before, or the runtime failed */
  async startExec(execId: string): Promise<number> {
    return await this.execs.start(execId, () => this.#checkAlive());
  }

  /** @throws not_found - the process has ended @throws failed_precondition - the exec was not started */
  async kill(execId: string, signal: number, options: { readonly all?: boolean } = {}): Promise<void> {
    if (execId !== "") return this.execs.kill(execId, signal);
    if (this.init.exit) throw notFound("process already finished");
    // CRIU may take for ever over images that are damaged, and the runtime does not know of the container yet
    if (this.#restoring && this.init.pid === 0) {
      if (!ENDING.has(signal)) throw notFound(`process of ${this.id} is being restored`);
      this.#restoring.abort(unknown(`the restore of ${this.id} was ended`));
      return await this.#creation?.endRuntime(this.#context.log);
    }
    await this.driver.kill(this.id, signal, options);
  }

  async pause(): Promise<void> {
    await this.init.turns.run(async () => {
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
    await this.init.turns.run(async () => {
      if (this.status !== "paused") throw unknown(`cannot resume a ${this.status} process`);
      await this.driver.resume(this.id);
      this.#state = "running";
      this.#context.publish("/tasks/resumed", TaskResumedSchema, { containerId: this.id });
    });
  }

  /** This removes the container: the runtime's state, the streams, the mounts. @throws unknown - init runs */
  async delete(): Promise<void> {
    const { init } = this;
    await init.turns.run(async () => {
      if (!init.exit && this.#state !== "created") throw unknown("cannot delete a running process");
      const how = init.exit ? { ended: init.pid } : { force: true };
      const removal = this.driver.delete(this.id, how);
      await Promise.all([removal, init.exit ? init.stdio.drain(DRAIN_TIMEOUT_MS) : undefined]);
      // a container that never ran is ended by its deletion
      if (init.pid !== 0) await init.exited;
      for (const exec of this.execs.list()) {
        await exec.stdio[Symbol.asyncDispose]();
        if (!exec.exit) exec.announceRemoval();
      }
      await init.stdio[Symbol.asyncDispose]();
      await unmountRecursive(join(this.bundle, "rootfs"));
    });
  }

  /** This frees what the shim itself holds of the container, which lives on. */
  async abandon(): Promise<void> {
    this.#cgroup[Symbol.dispose]();
    for (const process of [this.init, ...this.execs.list()]) await process.stdio[Symbol.asyncDispose]();
  }

  /** The process may be there and only its terminal did not arrive. What the runtime did not make is not this one's. */
  async #removeCreated(): Promise<void> {
    if (this.init.pid === 0) return;
    await this.driver.delete(this.id, { force: true }).catch((error: unknown) => {
      this.#context.log.warn("container not deleted", { id: this.id, error: messageOf(error) });
    });
  }

  async #createUnlessRestored(): Promise<void> {
    if (!this.#settings.checkpoint) await this.#createInit();
    this.#settings.onCreated(this.init.pid);
  }

  #createInit(): Promise<void> {
    return this.#makeInit((options) => this.driver.create(this.id, options));
  }

  async #restore(imagePath: string): Promise<void> {
    const { criuWorkPath: shared } = this.#settings.options;
    const { signal } = (this.#restoring = new AbortController());
    try {
      using _alone = shared === "" ? undefined : await lockCriuWorkPath(shared, { signal });
      const checkpoint = { imagePath, workPath: shared || criuWorkPath(this.bundle) };
      const make = async (options: CreateOptions): Promise<number> => {
        signal.throwIfAborted();
        return await this.driver.restore(this.id, { ...options, checkpoint });
      };
      await this.#makeInit(make, shared || undefined);
    } finally {
      this.#restoring = undefined;
    }
  }

  async #makeInit(make: (options: CreateOptions) => Promise<number>, workPath?: string): Promise<void> {
    const { init, bundle } = this;
    const { cgroupsPath } = this.#settings.facts;
    const { noPivotRoot, noNewKeyring } = this.#settings.options;
    await init.stdio.start(async (stdio, consoleSocket) => {
      const pidFile = join(bundle, "init.pid");
      enableControllers(cgroupsPath);
      const creation = Creation.begin(this, { cgroupsPath, workPath }, this.driver);
      this.#creation = creation;
      try {
        init.pid = await make({ bundle, pidFile, stdio, consoleSocket, noPivotRoot, noNewKeyring });
      } catch (error) {
        await creation.undo(this.driver, this.#context.log, { holdsWorkPath: true });
        throw error;
      } finally {
        this.#creation = undefined;
      }
      // before anything else can fail: the process is a child of this one from now on
      this.#news.watch(init, (status) => this.#onInitExit(status));
      creation.finish();
    });
    setImmediate(() => this.#cgroup.find(init.pid));
  }

  #checkAlive(): void {
    if (this.init.exit)
      throw failedPrecondition(`container ${this.id} must be in a created or running state to be exec'd`);
  }

  async #onInitExit(status: ExitStatus): Promise<void> {
    this.#initEnded.abort();
    this.#cgroup.checkAtExit();
    this.#news.record(this.init, status);
    if (!this.#settings.facts.privatePidNamespace) await this.#killRemaining();
    await this.execs.endedWithin(EXEC_EXIT_GRACE_MS);
    await this.#news.tell(this.init, status);
  }

  async #killRemaining(): Promise<void> {
    try {
      await this.driver.kill(this.id, constants.signals.SIGKILL, { all: true });
    } catch (error) {
      this.#context.log.debug("no process left to kill", { id: this.id, error: messageOf(error) });
    }
  }

  #openStdio(request: StdioRequest): ProcessStdio {
    const { ioUid, ioGid } = this.#settings.options;
    return ProcessStdio.create(request, { ...this.#context, id: this.id, ioUid, ioGid });
  }
}
