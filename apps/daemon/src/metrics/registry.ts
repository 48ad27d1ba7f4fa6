import { readdirSync, readFileSync } from "node:fs";
import { availableParallelism } from "node:os";

import type { GarbageCollector } from "@berth/plugin-core/types";
import { Counter, Gauge, Histogram, Registry } from "prom-client";

import { REVISION, VERSION } from "../version.ts";

const CLOCK_TICKS_PER_SECOND = 100;
const PAGE_BYTES = 4096;

/** This makes what a metrics page shows; of the process as a whole to begin with. */
export function createRegistry(): Registry {
  const registry = new Registry();
  new Counter({
    name: "containerd_build_info_total",
    help: "Version of the daemon",
    labelNames: ["version", "revision"],
    registers: [registry],
  }).inc({ version: VERSION, revision: REVISION });
  showProcess(registry);
  showNode(registry);
  return registry;
}

function showProcess(registry: Registry): void {
  gauge(registry, "process_cpu_seconds_total", "Time on the processor, in seconds", () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1e6;
  });
  gauge(registry, "process_resident_memory_bytes", "Memory that is resident", () => process.memoryUsage.rss());
  gauge(registry, "process_virtual_memory_bytes", "Address space", () => {
    const [pages = "0"] = readFileSync("/proc/self/statm", "utf8").split(" ");
    return Number(pages) * PAGE_BYTES;
  });
  gauge(registry, "process_open_fds", "Open descriptors", () => readdirSync("/proc/self/fd").length - 1);
  gauge(registry, "process_max_fds", "Descriptors that may be open", () =>
    Number(/^Max open files +(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1] ?? 0),
  );
  gauge(registry, "process_start_time_seconds", "When the process began, in seconds since 1970", () => {
    const started = Number(readFileSync("/proc/self/stat", "utf8").split(") ")[1]?.split(" ")[19]);
    const boot = Number(/^btime (\d+)/m.exec(readFileSync("/proc/stat", "utf8"))?.[1]);
    return boot + started / CLOCK_TICKS_PER_SECOND;
  });
}

function showNode(registry: Registry): void {
  gauge(registry, "nodejs_heap_size_total_bytes", "Size of the heap", () => process.memoryUsage().heapTotal);
  gauge(registry, "nodejs_heap_size_used_bytes", "Heap in use", () => process.memoryUsage().heapUsed);
  gauge(
    registry,
    "nodejs_external_memory_bytes",
    "Memory outside the heap that it holds",
    () => process.memoryUsage().external,
  );
  gauge(
    registry,
    "nodejs_eventloop_utilization",
    "Share of time that the event loop was busy",
    () => performance.eventLoopUtilization().utilization,
  );
  gauge(registry, "nodejs_available_parallelism", "Processors that the process may use", () => availableParallelism());
}

/** This shows a number that is looked up whenever the page is. */
export function gauge(registry: Registry, name: string, help: string, value: () => number): void {
  // It registers itself.
  void new Gauge({
    name,
    help,
    registers: [registry],
    collect() {
      this.set(value());
    },
  });
}

/** This counts runs of the collector, and how long each kept others out of the metadata, until the result is disposed. */
export function countCollections(registry: Registry, collector: GarbageCollector): Disposable {
  const registers = [registry];
  const runs = new Counter({
    name: "containerd_gc_collections_total",
    help: "Runs of the garbage collector, by how they ended",
    labelNames: ["status"],
    registers,
  });
  const pauses = new Histogram({ name: "containerd_gc_gc_seconds", help: "How long runs kept others out", registers });
  return collector.onRun((run) => {
    runs.inc({ status: run === "failed" ? "fail" : "success" });
    if (run !== "failed") pauses.observe(run.pauseMs / 1000);
  });
}
