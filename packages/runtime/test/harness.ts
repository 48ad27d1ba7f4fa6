import { existsSync, readdirSync, readFileSync } from "node:fs";
import { copyFile, mkdir, symlink } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { TaskExitSchema } from "@berth/api/containerd/events/task";
import { Events } from "@berth/api/containerd/services/events/ttrpc/v1/events";
import type { EventEnvelope, EventExchange } from "@berth/core/events";
import { type Namespace, parseNamespace } from "@berth/core/namespaces";
import type { ExitStatus, TaskCreateOptions } from "@berth/core/runtime";
import { fromProtoTimestampNs, nowNs } from "@berth/core/timestamp";
import { debianPath, debianTool, temporaryDirectory } from "@berth/testing";
import { createTtrpcServer } from "@berth/ttrpc";
import { fromBinary } from "@bufbuild/protobuf";

import { LocalShimManager } from "../src/shim-manager.ts";
import type { ShimManagerOptions } from "../src/shim-manager-options.ts";
import { openTaskRuntime, type ShimTaskRuntime, type TaskRuntimeOptions } from "../src/task-runtime.ts";

/** An exchange that keeps what it was given, for tests of what was sent; it filters by topic only. */
export class RecordingExchange implements EventExchange {
  readonly sent: EventEnvelope[] = [];
  readonly #readers = new Set<(envelope: EventEnvelope) => void>();

  async publish(namespace: Namespace, topic: string, event: EventEnvelope["event"]): Promise<void> {
    await this.forward({ timestampNs: nowNs(), namespace, topic, event });
  }

  async forward(envelope: EventEnvelope): Promise<void> {
    this.sent.push(envelope);
    for (const read of this.#readers) read(envelope);
  }

  async *subscribe({ filters = [], signal }: { filters?: readonly string[]; signal?: AbortSignal | undefined } = {}) {
    const queue: EventEnvelope[] = [];
    let wake = Promise.withResolvers<void>();
    const read = (envelope: EventEnvelope): void => {
      if (filters.length === 0 || filters.includes(`topic==${envelope.topic}`)) queue.push(envelope);
      wake.resolve();
    };
    this.#readers.add(read);
    signal?.addEventListener("abort", () => wake.resolve());
    try {
      while (!isAborted(signal)) {
        yield* queue.splice(0);
        await wake.promise;
        wake = Promise.withResolvers();
      }
    } finally {
      this.#readers.delete(read);
    }
  }

  topics(): string[] {
    return this.sent.map(({ topic }) => topic);
  }

  exits(): (ExitStatus & { id: string; containerId: string })[] {
    return this.sent
      .filter(({ topic }) => topic === "/tasks/exit")
      .map(({ event }) => fromBinary(TaskExitSchema, event.value))
      .map(({ id, containerId, pid, exitStatus, exitedAt }) => {
        return { id, containerId, pid, exitStatus, exitedAtNs: fromProtoTimestampNs(exitedAt) };
      });
  }
}

function isAborted(signal: AbortSignal | undefined): boolean {
  return signal?.aborted === true;
}

/** A daemon as far as tasks need one. */
export interface Harness extends AsyncDisposable {
  readonly namespace: Namespace;
  readonly events: RecordingExchange;
  readonly directory: string;
  readonly stateDir: string;
  /** Ids of the sandboxes that have a record. */
  readonly sandboxRecords: Set<string>;
  /** The root file system of its containers. */
  readonly imagePath: string;
  readonly runtime: ShimTaskRuntime;
  readonly shims: LocalShimManager;
  /** This lets go of everything, as a daemon that stops; the socket for events closes too. */
  stop(): Promise<void>;
  /** This starts again on the same directories. */
  restart(): Promise<void>;
  options(args: readonly string[], change?: Partial<TaskCreateOptions>): TaskCreateOptions;
}

type HarnessOptions = Pick<ShimManagerOptions, "defaultShim"> &
  Partial<ShimManagerOptions> &
  Pick<TaskRuntimeOptions, "mounts">;

/** This starts a runtime with a shim, in directories of its own. */
export async function startHarness(shim: HarnessOptions) {
  const stack = new AsyncDisposableStack();
  const directory = stack.use(await temporaryDirectory("runtime")).path;
  const rootfs = join(directory, "image");
  await makeRootfs(rootfs);
  const harness = new RuntimeHarness(directory, rootfs, shim, stack);
  await harness.restart();
  return harness;
}

class RuntimeHarness implements Harness {
  readonly namespace = parseNamespace("testing");
  readonly events = new RecordingExchange();
  readonly sandboxRecords = new Set<string>();
  readonly directory: string;
  readonly stateDir: string;
  readonly imagePath: string;
  readonly #shim: HarnessOptions;
  readonly #stack: AsyncDisposableStack;
  #running: { runtime: ShimTaskRuntime; shims: LocalShimManager; stack: AsyncDisposableStack } | undefined;

  constructor(directory: string, rootfs: string, shim: HarnessOptions, stack: AsyncDisposableStack) {
    this.directory = directory;
    this.stateDir = join(directory, "state");
    this.imagePath = rootfs;
    this.#shim = shim;
    this.#stack = stack;
  }

  get runtime(): ShimTaskRuntime {
    return this.#current().runtime;
  }

  get shims(): LocalShimManager {
    return this.#current().shims;
  }

  async stop(): Promise<void> {
    await this.#running?.stack.disposeAsync();
    this.#running = undefined;
  }

  async restart(): Promise<void> {
    await this.stop();
    const stack = new AsyncDisposableStack();
    const ttrpcAddress = join(this.directory, "d.sock.ttrpc");
    const server = stack.use(createTtrpcServer());
    server.register(Events, {
      forward: async ({ envelope }) => {
        if (envelope?.event === undefined) throw new Error("no event");
        const { timestamp, namespace, topic, event } = envelope;
        await this.events.forward({
          timestampNs: fromProtoTimestampNs(timestamp),
          namespace: parseNamespace(namespace),
          topic,
          event,
        });
        return {};
      },
    });
    const shims = stack.use(
      new LocalShimManager({
        grpcAddress: join(this.directory, "d.sock"),
        ttrpcAddress,
        ...this.#shim,
        env: [
          `PATH=${debianPath()}`,
          "BERTH_SHIM_LINGER_MS=200",
          `BERTH_SHIM_RUNC_ROOT=${join(this.directory, "runc")}`,
          ...(this.#shim.env ?? []),
        ],
      }),
    );
    const { stateDir, events } = this;
    const { log, mounts } = this.#shim;
    const rootDir = join(this.directory, "root");
    const hasSandbox = async (_: Namespace, id: string): Promise<boolean> => this.sandboxRecords.has(id);
    const runtime = await openTaskRuntime({
      shims,
      events,
      stateDir,
      rootDir,
      hasSandbox,
      mounts,
      ...(log === undefined ? {} : { log }),
    });
    stack.use(runtime);
    // As in the daemon: events come in when the tasks are known.
    stack.use(await server.listen(ttrpcAddress));
    this.#running = { runtime, shims, stack };
  }

  options(args: readonly string[], change: Partial<TaskCreateOptions> = {}): TaskCreateOptions {
    return {
      spec: {
        typeUrl: "types.containerd.io/opencontainers/runtime-spec/1/Spec",
        value: new TextEncoder().encode(JSON.stringify(specOf(args))),
      },
      io: { stdin: "", stdout: "", stderr: "", terminal: false },
      rootfs: [{ type: "bind", source: this.imagePath, target: "", options: ["rbind", "rw"] }],
      checkpoint: "",
      runtime: "io.containerd.runc.v2",
      sandboxId: "",
      ...change,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const task of this.#running?.runtime.list(this.namespace) ?? []) {
      await task.kill({ signalNumber: 9, all: true }).catch(() => {});
      await task.wait({ signal: AbortSignal.timeout(5000) }).catch(() => {});
      await this.runtime.delete(this.namespace, task.id).catch(() => {});
    }
    await this.stop();
    await this.#stack.disposeAsync();
  }

  #current(): { runtime: ShimTaskRuntime; shims: LocalShimManager } {
    if (this.#running === undefined) throw new Error("the harness is stopped");
    return this.#running;
  }
}

/** The process of an exec. */
export function processSpec(args: readonly string[]) {
  const process = { terminal: false, user: { uid: 0, gid: 0 }, args, env: ["PATH=/bin"], cwd: "/" };
  const value = new TextEncoder().encode(JSON.stringify(process));
  return { typeUrl: "types.containerd.io/opencontainers/runtime-spec/1/Process", value };
}

function specOf(args: readonly string[]) {
  return {
    ociVersion: "1.0.2",
    process: { terminal: false, user: { uid: 0, gid: 0 }, args, env: ["PATH=/bin"], cwd: "/" },
    root: { path: "rootfs" },
    mounts: [
      { destination: "/proc", type: "proc", source: "proc" },
      // Its own: containers of one root file system would make /dev/ptmx at the same time.
      { destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["nosuid", "mode=755"] },
    ],
    linux: {
      cgroupsPath: `/berth-test-${process.pid}-${containers++}`,
      namespaces: [{ type: "pid" }, { type: "ipc" }, { type: "uts" }, { type: "mount" }, { type: "network" }],
    },
  };
}

let containers = 0;

/** This finds the processes that were started as shims of the daemon of a directory, of all its tasks or of one. */
export function shimsOf(directory: string, id?: string): number[] {
  const isShim = (pid: string): boolean => {
    try {
      const line = readFileSync(`/proc/${pid}/cmdline`, "utf8");
      return line.includes(`\0-address\0${directory}/`) && (id === undefined || line.includes(`\0-id\0${id}\0`));
    } catch {
      return false; // gone meanwhile
    }
  };
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && isShim(name))
    .map(Number);
}

/** Those of {@link shimsOf} that are there to stay: not the ones that start or delete. */
export function servingShimsOf(directory: string): number[] {
  return shimsOf(directory).filter((pid) => {
    try {
      // one that has ended meanwhile, and that nobody has taken yet, has no words left
      return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("\0-socket\0");
    } catch {
      return false; // gone meanwhile
    }
  });
}

/** The directories of a cgroup, in whichever hierarchies it is. */
export function cgroupsNamed(path: string): string[] {
  const root = "/sys/fs/cgroup";
  return ["", ...readdirSync(root)].map((name) => join(root, name, path)).filter((directory) => existsSync(directory));
}

/** This waits until something is so. */
export async function eventually(check: () => boolean, limitMs = 5000): Promise<void> {
  const end = Date.now() + limitMs;
  while (!check()) {
    if (Date.now() > end) throw new Error(`not so in ${limitMs} ms: ${String(check)}`);
    await sleep(20);
  }
}

async function makeRootfs(rootfs: string): Promise<void> {
  for (const name of ["bin", "proc", "dev", "sys", "tmp"]) await mkdir(join(rootfs, name), { recursive: true });
  await copyFile(debianTool("busybox"), join(rootfs, "bin", "busybox"));
  for (const name of ["sh", "sleep", "true", "echo", "cat", "test"])
    await symlink("busybox", join(rootfs, "bin", name));
}
