import { setTimeout as sleep } from "node:timers/promises";

import { TaskExitSchema } from "@berth/api/containerd/events/task";
import type { EventEnvelope, EventExchange } from "@berth/core/events";
import type { Logger } from "@berth/core/log";
import type { Namespace } from "@berth/core/namespaces";
import type { ExitStatus } from "@berth/core/runtime";
import { nowNs } from "@berth/core/timestamp";
import { fromBinary } from "@bufbuild/protobuf";

import { EndedTask } from "./ended-task.ts";
import { type ExitRecord, isInitExitSent, markExitSent, readExitRecords } from "./exit-records.ts";
import { ShimTask } from "./shim-task.ts";
import { publishExit } from "./task-events.ts";

/** A shim tries for 15 s to deliver an event, with calls of up to 5 s; what it has not delivered by then it has dropped. */
const SHIM_RETRY_MS = 25_000;
/** The longest pause between two of these tries, and a little more. */
const LAST_RETRY_MS = 6000;
const POLL_MS = 20;

/** Sees to it that each recorded exit becomes one event: the shim's own, or ours when the shim could not deliver it. */
export class ExitLedger implements AsyncDisposable {
  readonly #events: EventExchange;
  readonly #log: Logger;
  readonly #find: (namespace: Namespace, id: string) => ShimTask | EndedTask | undefined;
  readonly #stop = new AbortController();
  readonly #pending = new Set<Promise<void>>();

  constructor(
    events: EventExchange,
    log: Logger,
    find: (namespace: Namespace, id: string) => ShimTask | EndedTask | undefined,
  ) {
    this.#events = events;
    this.#log = log;
    this.#find = find;
    this.#track(this.#watch());
  }

  /** This publishes what a task's shim recorded and nobody has heard of; for a living shim only once it has given up. */
  async settle(task: ShimTask | EndedTask): Promise<void> {
    for (const record of await readExitRecords(task.bundle)) {
      if (record.sent) continue;
      const ageMs = Number((nowNs() - record.exitedAtNs) / 1_000_000n);
      const waitMs = Math.max(0, SHIM_RETRY_MS - Math.max(0, ageMs));
      if (task instanceof EndedTask || waitMs === 0) await this.#publish(task, record);
      else this.#track(this.#publishLater(task, record, waitMs));
    }
  }

  /**
   * This is for a task that was just deleted in its shim, before the shim is told to end: an exit from when no daemon was there may still
   * be on its way, and would be lost with the shim.
   */
  async settleBeforeShutdown(task: ShimTask, exit: ExitStatus): Promise<void> {
    if (!task.isTakenOver) return;
    const { signal } = this.#stop;
    const end = performance.now() + LAST_RETRY_MS;
    while (!task.isExitSent && performance.now() < end && !signal.aborted) {
      await sleep(POLL_MS, undefined, { signal, ref: false }).catch(() => {});
    }
    if (!task.isExitSent) await this.#publish(task, { ...exit, execId: "", sent: false });
  }

  /** This is for a task whose shim is dead and whose processes are gone: it tells of its end, unless that was told. */
  async settleDead(task: ShimTask, exit: ExitStatus): Promise<void> {
    if (task.isExitSent || isInitExitSent(task.bundle)) return;
    await this.#publish(task, { ...exit, execId: "", sent: false });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#pending);
  }

  #track(work: Promise<void>): void {
    const settled = work
      .catch((error: unknown) => this.#log.warn("exit events", { error }))
      .finally(() => this.#pending.delete(settled));
    this.#pending.add(settled);
  }

  async #watch(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        for await (const envelope of this.#events.subscribe({ filters: ["topic==/tasks/exit"], signal })) {
          await this.#note(envelope).catch((error: unknown) => this.#log.warn("cannot note exit", { error }));
        }
      } catch (error) {
        // Too many exits at once for the queue: an unmarked one may be told twice after a restart, which is better than never.
        this.#log.warn("exit events were missed", { error });
        // A subscription that always fails would keep everything else from running, the end of the daemon as well.
        await sleep(POLL_MS, undefined, { signal, ref: false }).catch(() => {});
      }
    }
  }

  async #note({ namespace, event }: EventEnvelope): Promise<void> {
    const { containerId, id } = fromBinary(TaskExitSchema, event.value);
    const task = this.#find(namespace, containerId);
    if (!(task instanceof ShimTask)) return;
    const execId = id === containerId ? "" : id;
    noteSent(task, execId);
    markExitSent(task.bundle, execId);
  }

  async #publishLater(task: ShimTask, record: ExitRecord, waitMs: number): Promise<void> {
    const { signal } = this.#stop;
    const { execId } = record;
    if (execId !== "") task.exitsAwaited.add(execId);
    await sleep(waitMs, undefined, { signal, ref: false }).catch(() => {});
    const heard = execId === "" ? task.isExitSent : !task.exitsAwaited.has(execId);
    if (!signal.aborted && !heard && !task.isRemoved) await this.#publish(task, record);
  }

  async #publish(task: ShimTask | EndedTask, record: ExitRecord): Promise<void> {
    if (task instanceof ShimTask) noteSent(task, record.execId);
    try {
      markExitSent(task.bundle, record.execId);
    } catch (error) {
      // Told twice, by this daemon and the next, is better than never: a disk may be full.
      this.#log.warn("exit not marked as told", { id: task.id, error });
    }
    await publishExit(this.#events, task, record.execId, record);
  }
}

/** Of execs nothing is kept that nobody waits for: a task may have any number of them. */
function noteSent(task: ShimTask, execId: string): void {
  if (execId === "") task.isExitSent = true;
  else task.exitsAwaited.delete(execId);
}
