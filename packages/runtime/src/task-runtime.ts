import type { CallOptions } from "@berth/core/any";
import type { EventExchange } from "@berth/core/events";
import type { Logger } from "@berth/core/log";
import { silentLogger } from "@berth/core/log";
import type { MountManager } from "@berth/core/mount";
import { type Namespace, validateIdentifier } from "@berth/core/namespaces";
import { raceSignal } from "@berth/core/race-signal";
import type { ExitStatus, Task, TaskCreateOptions, TaskRuntime } from "@berth/core/runtime";
import { alreadyExists, isNotFound, notFound, wrapError } from "@berth/errors";

import { abandonTask, cleanupBudget } from "./abandon-task.ts";
import { Bundle, type BundleRoots } from "./bundle.ts";
import { cleanUpDeadShim } from "./dead-shim.ts";
import { EndedTask } from "./ended-task.ts";
import { ExitLedger } from "./exit-ledger.ts";
import { loadTasks } from "./load-tasks.ts";
import { chooseShim } from "./choose-shim.ts";
import { copyShimLog } from "./shim-log.ts";
import { RootfsMounts } from "./rootfs-mounts.ts";
import { checkMountFeatures } from "./runtime-info.ts";
import type { LocalShimManager } from "./shim-manager.ts";
import { makeInShim, type ShimAttempt } from "./shim-attempts.ts";
import { ShimTask } from "./shim-task.ts";
import { publishDelete } from "./task-events.ts";
import { TaskRemovals } from "./task-removals.ts";

/** Options of {@link openTaskRuntime}. */
export interface TaskRuntimeOptions extends BundleRoots {
  /** Disposed by its owner, after the runtime. */
  readonly shims: LocalShimManager;
  readonly events: EventExchange;
  /** Makes mounts of root file systems that shims cannot make. */
  readonly mounts?: ((namespace: Namespace) => MountManager) | undefined;
  readonly log?: Logger;
  /** Name of the runtime in a container's record; for bundles that do not say which binary made their shim. */
  readonly findRuntimeName?: (namespace: Namespace, id: string) => Promise<string | undefined>;
  /** Whether a sandbox has a record: a task in one that has and runs nowhere is refused. */
  readonly hasSandbox?: (namespace: Namespace, id: string) => Promise<boolean>;
}

type ManagedTask = ShimTask | EndedTask;

/**
 * This finds the tasks that run since before this daemon, connects to their shims, and takes over. What is stale is removed.
 *
 * Disposing it lets go of the shims; their containers go on.
 */
export async function openTaskRuntime(options: TaskRuntimeOptions & CallOptions): Promise<ShimTaskRuntime> {
  const runtime = new ShimTaskRuntime(options);
  try {
    await runtime.load(options);
  } catch (error) {
    await runtime[Symbol.asyncDispose]();
    throw error;
  }
  return runtime;
}

/** Tasks over shims; made by {@link openTaskRuntime}. */
export class ShimTaskRuntime implements TaskRuntime, AsyncDisposable {
  readonly #options: TaskRuntimeOptions;
  readonly #shims: LocalShimManager;
  readonly #log: Logger;
  readonly #tasks = new Map<Namespace, Map<string, ManagedTask>>();
  readonly #creating = new Set<string>();
  readonly #removals = new TaskRemovals<ManagedTask>();
  readonly #ledger: ExitLedger;
  readonly #rootfs: RootfsMounts;
  /** Cleanups of dead shims that are under way. */
  readonly #funerals = new Set<Promise<void>>();
  /** Ends what waits for a shim when this is disposed. */
  readonly #stop = new AbortController();
  #isDisposed = false;

  constructor(options: TaskRuntimeOptions) {
    this.#options = options;
    this.#shims = options.shims;
    this.#log = options.log ?? silentLogger;
    const { mounts: managerFor, shims } = options;
    const allowedTypes = (binary: string) => shims.allowedMounts(binary);
    this.#rootfs = new RootfsMounts({ managerFor, allowedTypes, log: this.#log });
    this.#ledger = new ExitLedger(options.events, this.#log, (namespace, id) => this.#find(namespace, id));
  }

  async load(limits: CallOptions): Promise<void> {
    const { shims, findRuntimeName } = this.#options;
    const deleteBundle = (bundle: Bundle): Promise<void> => this.#deleteBundle(bundle);
    const found = await loadTasks({
      roots: this.#options,
      shims,
      log: this.#log,
      findRuntimeName,
      deleteBundle,
      ...limits,
    });
    for (const task of found) {
      this.#register(task);
      // What is not told now is told by the next daemon, if at all; the task itself is there.
      await this.#ledger
        .settle(task)
        .catch((error: unknown) => this.#log.error("exits not told", { id: task.id, error }));
    }
  }

  async create(namespace: Namespace, id: string, options: TaskCreateOptions): Promise<Task> {
    validateIdentifier(id, "task id");
    const key = `${namespace}/${id}`;
    if (this.#find(namespace, id) !== undefined || this.#creating.has(key))
      throw alreadyExists(`task ${id}: already exists`);
    this.#creating.add(key);
    this.#removals.takeUnheard(key);
    try {
      const log = this.#log.with({ namespace, id });
      return await makeInShim(() => this.#create(namespace, id, options), { log, signal: options.signal });
    } finally {
      this.#creating.delete(key);
    }
  }

  get(namespace: Namespace, id: string): Task {
    const task = this.#find(namespace, id);
    if (task === undefined) throw notFound(`task ${id} not found`);
    return task;
  }

  list(namespace: Namespace): readonly Task[] {
    const tasks = [...(this.#tasks.get(namespace)?.values() ?? [])];
    return tasks.filter((task) => task instanceof EndedTask || !task.isRemoved);
  }

  async delete(namespace: Namespace, id: string, options: CallOptions = {}): Promise<ExitStatus> {
    const name = `${namespace}/${id}`;
    const task = this.#find(namespace, id);
    const unheard = task === undefined ? this.#removals.takeUnheard(name) : undefined;
    if (unheard !== undefined) return unheard;
    if (task === undefined) throw notFound(`task ${id} not found`);
    const remove = () => (task instanceof EndedTask ? this.#removeEnded(task) : this.#remove(task));
    return await this.#removals.run(task, name, remove, options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    this.#stop.abort();
    await this.#ledger[Symbol.asyncDispose]();
    await Promise.all(this.#funerals);
    await this.#removals.settled();
    for (const tasks of this.#tasks.values()) {
      for (const task of tasks.values()) if (task instanceof ShimTask) await task.resources.disposeAsync();
    }
    this.#tasks.clear();
  }

  #find(namespace: Namespace, id: string): ManagedTask | undefined {
    return this.#tasks.get(namespace)?.get(id);
  }

  async #create(namespace: Namespace, id: string, options: TaskCreateOptions): Promise<ShimAttempt<Task>> {
    const binary = await this.#shims.resolve(options.runtimePath || options.runtime);
    await using undo = new AsyncDisposableStack();
    const bundle = await Bundle.create(this.#options, { namespace, id }, options.spec);
    undo.defer(() => this.#deleteBundle(bundle));
    await checkMountFeatures(this.#shims, binary, options);
    const rootfs = await this.#rootfs.activate(bundle, options.rootfs, { binary, signal: options.signal });
    const resources = undo.use(new AsyncDisposableStack());
    resources.use(copyShimLog(bundle, this.#log, { isPooled: this.#shims.isPooled(binary) }));
    const chosen = await chooseShim(this.#shims, this.#options, bundle, binary, options);
    if ("shimEnded" in chosen) return chosen;
    const connection = resources.use(chosen.made);
    const task = new ShimTask({ bundle, binary, connection, resources });
    try {
      options.signal?.throwIfAborted();
      await task.create({ ...options, rootfs });
    } catch (error) {
      const failure = wrapError(error, "failed to create shim task");
      const isUndone = await abandonTask(this.#shims, task, error, this.#log);
      if (isUndone && options.checkpoint === "") return { shimEnded: failure };
      throw failure;
    }
    undo.move();
    this.#register(task);
    return { made: task };
  }

  #register(task: ManagedTask): void {
    const tasks = this.#tasks.get(task.namespace) ?? new Map<string, ManagedTask>();
    this.#tasks.set(task.namespace, tasks);
    tasks.set(task.id, task);
    if (task instanceof EndedTask) return;
    const lost = task.connection.onClosed(() => {
      if (task.isRemoved || this.#isDisposed) return;
      const funeral = this.#bury(task)
        .catch((error: unknown) => this.#log.error("dead shim not cleaned up", { id: task.id, error }))
        .finally(() => this.#funerals.delete(funeral));
      this.#funerals.add(funeral);
    });
    task.resources.use(lost);
  }

  #unregister(task: ManagedTask): void {
    const tasks = this.#tasks.get(task.namespace);
    if (tasks?.get(task.id) !== task) return;
    tasks.delete(task.id);
    if (tasks.size === 0) this.#tasks.delete(task.namespace);
  }

  /** A task is known by its name until nothing is left of it: what is removed late would be the next one's of that name. */
  async #remove(task: ShimTask): Promise<ExitStatus> {
    const { signal } = this.#stop;
    let exit: ExitStatus | undefined;
    let failure: unknown;
    try {
      exit = await task.deleteProcess("", { signal });
    } catch (error) {
      if (task.connection.isClosed && !task.isRemoved) return await raceSignal(task.lost.promise, signal);
      if (!isNotFound(error)) throw error;
      failure = error;
    }
    task.isRemoved = true;
    if (exit !== undefined) await this.#ledger.settleBeforeShutdown(task, exit);
    const ended = this.#endShim(task);
    // A shim of others may still write into the bundle.
    if (task.binary === undefined || !this.#shims.isOwn(task.binary)) await ended;
    await this.#deleteBundle(task.bundle);
    await ended;
    this.#unregister(task);
    if (exit === undefined) throw failure;
    return exit;
  }

  async #endShim(task: ShimTask): Promise<void> {
    // A pool ends by itself when it has been without tasks for a while, and does nothing when it is told to.
    if (task.binary === undefined || !this.#shims.isPooled(task.binary)) {
      await task
        .shutdown({ timeoutMs: this.#shims.timeouts.shutdownMs })
        .catch((error: unknown) => this.#log.debug("shim shutdown", { id: task.id, error }));
    }
    await task.resources.disposeAsync();
  }

  async #removeEnded(task: EndedTask): Promise<ExitStatus> {
    await this.#deleteBundle(task.bundle);
    this.#unregister(task);
    await publishDelete(this.#options.events, task, task.exit);
    return task.exit;
  }

  /** The connection to a shim is lost: that is taken as the death of the shim, as in containerd. */
  async #bury(task: ShimTask): Promise<void> {
    const { bundle, binary } = task;
    const log = this.#log.with({ namespace: task.namespace, id: task.id });
    log.info("shim disconnected");
    const tell = async (seen: ExitStatus): Promise<void> => {
      task.ended.resolve(seen);
      await this.#ledger.settleDead(task, seen);
    };
    const notTold = (error: unknown): void => log.error("end of task not told", { error });
    const told: Promise<void>[] = [];
    const onEnded = (seen: ExitStatus): void => void told.push(tell(seen).catch(notTold));
    const { exit } = await cleanUpDeadShim(this.#shims, { bundle, binary, onEnded }, log);
    await Promise.all(told);
    await tell(exit).catch(notTold);
    await task.resources.disposeAsync();
    await this.#deleteBundle(bundle);
    task.isRemoved = true;
    this.#unregister(task);
    await publishDelete(this.#options.events, task, exit).catch(notTold);
    task.lost.resolve(exit);
  }

  async #deleteBundle(bundle: Bundle): Promise<void> {
    try {
      await bundle.delete(this.#cleanupBudget());
    } catch (error) {
      this.#log.error("failed to delete bundle", { namespace: bundle.namespace, id: bundle.id, error });
    }
    await this.#rootfs.release(bundle, this.#cleanupBudget());
  }

  #cleanupBudget(): { readonly signal: AbortSignal } {
    return cleanupBudget(this.#shims);
  }
}
