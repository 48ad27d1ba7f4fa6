import { setTimeout as sleep } from "node:timers/promises";

import type { Container } from "@berth/core/containers";
import type { Logger } from "@berth/core/log";
import { silentLogger } from "@berth/core/log";
import type { MetadataStore, NamespacedStores } from "@berth/core/metadata";
import type { ProcessIo, ProcessState, Task, TaskRuntime } from "@berth/core/runtime";
import { Turns } from "@berth/core/turns";
import { ignoreNotFound, isNotFound } from "@berth/errors";

import { containerTaskOptions } from "../container-task-options.ts";
import { RestartLabel, restartCount, wantsRestart } from "./restart-labels.ts";

/** What {@link RestartMonitor} works with. */
export interface RestartMonitorOptions {
  readonly metadata: MetadataStore;
  readonly runtime: TaskRuntime;
  /** Time between two looks at all containers. */
  readonly intervalMs: number;
  readonly log?: Logger;
}

/** How long one look may take to bring one container to its wanted status. */
const CHANGE_TIMEOUT_MS = 60_000;
/** A container that is this young and has no task yet is about to get one from whoever made it. */
const FIRST_TASK_MS = 10_000;
const STATE_TIMEOUT_MS = 2000;
/** More containers at once than this only make each of them slower. */
const CHANGES_AT_ONCE = 8;
const SIGKILL = 9;
const FILTER = `labels."${RestartLabel.status}"`;

/**
 * Keeps containers in the status that their labels want: restarts those that have ended, ends those that shall not run. Only
 * containers with the label `containerd.io/restart.status` are looked at.
 *
 * Disposing it waits for the restarts that are under way.
 *
 * @see containerd plugins/restart/monitor.go
 */
export class RestartMonitor implements AsyncDisposable {
  readonly #options: RestartMonitorOptions;
  readonly #log: Logger;
  readonly #turns = new Turns(CHANGES_AT_ONCE);
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;

  constructor(options: RestartMonitorOptions) {
    this.#options = options;
    this.#log = options.log ?? silentLogger;
    this.#running = this.#run();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await this.#reconcile().catch((error: unknown) => this.#log.error("reconcile", { error }));
      await sleep(this.#options.intervalMs, undefined, { signal, ref: false }).catch(() => {});
    }
  }

  async #reconcile(): Promise<void> {
    const { metadata } = this.#options;
    const changes: Promise<void>[] = [];
    for await (const namespace of metadata.namespaces.list({ signal: this.#stop.signal })) {
      const stores = metadata.namespace(namespace);
      for await (const container of stores.containers.list({ filters: [FILTER], signal: this.#stop.signal })) {
        changes.push(this.#look(stores, container));
      }
    }
    await Promise.all(changes);
  }

  /** This brings one container to its wanted status; what fails is logged, and tried again at the next look. */
  async #look(stores: NamespacedStores, container: Container): Promise<void> {
    using _turn = await this.#turns.acquire();
    if (this.#stop.signal.aborted) return;
    const log = this.#log.with({ namespace: stores.namespace, id: container.id });
    // Not the signal of the end: a container whose old task is gone gets its new one.
    const signal = AbortSignal.timeout(CHANGE_TIMEOUT_MS);
    try {
      const task = this.#findTask(stores, container.id);
      if (task === undefined && Date.now() - container.createdAt < FIRST_TASK_MS) return;
      const state = task && (await stateOf(task));
      const wanted = container.labels.get(RestartLabel.status);
      if (wanted === "stopped" && task !== undefined && isStarted(state)) {
        await this.#remove(task, state, signal);
        log.info("container stopped as its label wants");
      } else if (wanted === "running" && hasEnded(task, state) && wantsRestart(container.labels, state?.exitStatus)) {
        await this.#restart(stores, container, { task, state, signal });
        log.info("container restarted", { exitStatus: state?.exitStatus });
      }
    } catch (error) {
      if (isNotFound(error)) log.debug("container went away while it was restarted", { error });
      else log.error("failed to bring container to its wanted status", { error });
    }
  }

  #findTask({ namespace }: NamespacedStores, id: string): Task | undefined {
    try {
      return this.#options.runtime.get(namespace, id);
    } catch (error) {
      return ignoreNotFound(error);
    }
  }

  async #restart(
    stores: NamespacedStores,
    container: Container,
    { task, state, signal }: { task: Task | undefined; state: ProcessState | undefined; signal: AbortSignal },
  ): Promise<void> {
    await countRestart(stores, container);
    if (task !== undefined) await this.#remove(task, state, signal);
    const io = restartIo(container);
    const { runtime } = this.#options;
    const created = await runtime.create(stores.namespace, container.id, {
      ...(await containerTaskOptions(container, stores, { signal })),
      io,
      checkpoint: "",
    });
    try {
      await created.start({ signal });
    } catch (error) {
      await this.#remove(created, undefined, AbortSignal.timeout(CHANGE_TIMEOUT_MS)).catch(() => {});
      throw error;
    }
  }

  async #remove(task: Task, state: ProcessState | undefined, signal: AbortSignal): Promise<void> {
    if (state?.status !== "stopped") {
      await task.kill({ signalNumber: SIGKILL, all: true, signal }).catch(ignoreNotFound);
      await task.wait({ signal }).catch(ignoreNotFound);
    }
    await this.#options.runtime.delete(task.namespace, task.id, { signal }).catch(ignoreNotFound);
  }
}

/** A task whose shim does not tell its state is left to the next look, unless the shim says that it is gone. */
async function stateOf(task: Task): Promise<ProcessState | undefined> {
  return await task.state({ signal: AbortSignal.timeout(STATE_TIMEOUT_MS) }).catch(ignoreNotFound);
}

/** A task that was only created is in the hands of whoever made it. */
function isStarted(state: ProcessState | undefined): boolean {
  return state !== undefined && state.status !== "stopped" && state.status !== "created";
}

/** One that is created or paused is in someone's hands. */
function hasEnded(task: Task | undefined, state: ProcessState | undefined): boolean {
  return task === undefined || state === undefined || state.status === "stopped";
}

async function countRestart({ containers }: NamespacedStores, container: Container): Promise<void> {
  const labels = new Map([[RestartLabel.count as string, String((restartCount(container.labels) ?? 0) + 1)]]);
  await containers.update({ ...container, labels }, { fieldpaths: [`labels.${RestartLabel.count}`] });
}

/** Nobody holds the ends of the pipes that the first task had: output goes where the label says, or nowhere. */
function restartIo({ labels, spec }: Container): ProcessIo {
  const uri = labels.get(RestartLabel.logUri) ?? "";
  return { stdin: "", stdout: uri, stderr: uri, terminal: wantsTerminal(spec?.value) };
}

function wantsTerminal(spec: Uint8Array | undefined): boolean {
  try {
    // What JSON.parse returns is looked at with care.
    const { process } = JSON.parse(new TextDecoder().decode(spec)) as { process?: { terminal?: unknown } };
    return process?.terminal === true;
  } catch {
    return false;
  }
}
