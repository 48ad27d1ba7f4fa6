import type { Logger } from "@berth/core/log";
import type { MetadataStore } from "@berth/core/metadata";
import type { Task, TaskRuntime } from "@berth/core/runtime";
import { isNotFound, messageOf } from "@berth/errors";
import { Gauge, Registry } from "prom-client";

import type { TaskSample } from "./cgroup-samples.ts";
import { cgroupSamples } from "./cgroup-samples.ts";

/** Whose tasks are shown. */
export interface TaskPageOptions {
  readonly metadata: Pick<MetadataStore, "namespaces">;
  readonly runtime: Pick<TaskRuntime, "list">;
  /** How long a shim may take to answer. */
  readonly timeoutMs: number;
  readonly log: Logger;
}

/** This writes the metrics of all tasks for Prometheus, asked for now; a task whose shim does not answer is left out. */
export async function renderTaskPage({ metadata, runtime, timeoutMs, log }: TaskPageOptions): Promise<string> {
  const signal = AbortSignal.timeout(timeoutMs);
  const gauges = new Gauges();
  const asked: Promise<void>[] = [];
  for await (const namespace of metadata.namespaces.list()) {
    for (const task of runtime.list(namespace)) {
      asked.push(addTask(gauges, task, signal).catch((error: unknown) => logFailure(log, task, error)));
    }
  }
  await Promise.all(asked);
  return await gauges.render();
}

async function addTask(gauges: Gauges, task: Task, signal: AbortSignal): Promise<void> {
  const { id, namespace } = task;
  for (const sample of cgroupSamples(await task.stats({ signal }))) gauges.set({ container_id: id, namespace }, sample);
}

function logFailure(log: Logger, { id, namespace }: Task, error: unknown): void {
  // It has ended since.
  if (!isNotFound(error)) log.error("collecting metrics", { id, namespace, error: messageOf(error) });
}

class Gauges {
  readonly #registry = new Registry();
  readonly #gauges = new Map<string, Gauge>();

  set(task: Readonly<Record<string, string>>, { name, value, labels }: TaskSample): void {
    const all = { ...task, ...labels };
    let gauge = this.#gauges.get(name);
    if (gauge === undefined) {
      const help = name.replaceAll("_", " ");
      gauge = new Gauge({ name, help, labelNames: Object.keys(all), registers: [this.#registry] });
      this.#gauges.set(name, gauge);
    }
    gauge.set(all, value);
  }

  render(): Promise<string> {
    return this.#registry.metrics();
  }
}
