import { writeFileSync, rmSync } from "node:fs";
import { join } from "node:path";

import { type Any, timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import { TaskCheckpointedSchema, TaskCreateSchema, TaskDeleteSchema } from "@berth/api/containerd/events/task";
import type { Sandbox } from "@berth/api/containerd/runtime/sandbox/v1/sandbox";
import type { Task } from "@berth/api/containerd/task/v3/task";
import { Status } from "@berth/api/containerd/v1/types/task";
import { validateIdentifier } from "@berth/core/namespaces";
import { alreadyExists, invalidArgument, notFound, unimplemented, unknown } from "@berth/errors";

import { readBundleFacts } from "./bundle.ts";
import { awaitCgroupMoves } from "./cgroups/await-moves.ts";
import { Container } from "./container.ts";
import { criuWorkPath } from "./criu-mounts.ts";
import { containerStats, describeProcess } from "./task-messages.ts";
import { RuncDriver } from "./runc-driver.ts";
import { parseCheckpointOptions, parseRuncOptions, runcRoot, writeRuncOptions } from "./runtime-options.ts";
import { Sandboxes } from "./sandboxes.ts";
import type { RuncTasksContext } from "./tasks-context.ts";

/** The containers of one shim process, and the Task service over them; `shutdown` belongs to the process. */
export interface RuncTasks extends AsyncDisposable {
  readonly service: Omit<ServiceImpl<typeof Task>, "shutdown">;
  readonly sandbox: ServiceImpl<typeof Sandbox>;
  /** Containers and sandboxes, those that are being made among them. */
  readonly size: number;
  /** Whether a container of this id is one of them. */
  isCounted(id: string): boolean;
  /** This lets go of containers that have ended and that somebody else has removed: nobody will ask for their deletion. */
  dropForsaken(): Promise<void>;
}

/** This makes the Task service over runc. Disposing lets go of the containers; they live on. */
export function createRuncTasks(context: RuncTasksContext): RuncTasks {
  return new ContainerTasks(context);
}

const STATUS = {
  created: Status.CREATED,
  running: Status.RUNNING,
  pausing: Status.PAUSING,
  paused: Status.PAUSED,
  stopped: Status.STOPPED,
} as const;

type Handlers = RuncTasks["service"];

/** A container that is being made. */
interface Coming {
  readonly id: string;
  readonly sandboxId: string | undefined;
  /** Whether it works out or not. */
  readonly over: PromiseWithResolvers<void>;
}

class ContainerTasks implements RuncTasks {
  readonly service: Handlers;
  readonly #context: RuncTasksContext;
  readonly #containers = new Map<string, Container>();
  readonly #sandboxes: Sandboxes;
  readonly #coming = new Map<string, Coming>();

  constructor(context: RuncTasksContext) {
    this.#context = context;
    this.#sandboxes = new Sandboxes({ of: (id) => this.#ofSandbox(id), made: (id) => this.#madeFor(id) }, context.log);
    this.service = { ...this.#lifeHandlers(), ...this.#processHandlers(), ...this.#containerHandlers() };
  }

  get size(): number {
    return this.#containers.size + this.#coming.size + this.#sandboxes.size;
  }

  isCounted(id: string): boolean {
    return this.#containers.has(id) || this.#coming.has(id);
  }

  async dropForsaken(): Promise<void> {
    for (const container of this.#containers.values()) await this.#dropIfForsaken(container);
  }

  async #dropIfForsaken(container: Container | undefined): Promise<void> {
    if (!container?.isForsaken || !this.#containers.delete(container.id)) return;
    this.#context.log.info("container was removed by others", { id: container.id });
    await container.abandon();
  }

  get sandbox(): ServiceImpl<typeof Sandbox> {
    return this.#sandboxes.service;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#sandboxes[Symbol.asyncDispose]();
    await Promise.all([...this.#containers.values()].map((container) => container.abandon()));
    this.#containers.clear();
  }

  #ofSandbox(id: string): Container[] {
    return [...this.#containers.values()].filter(isOfSandbox(id));
  }

  async #madeFor(sandboxId: string): Promise<void> {
    const coming = [...this.#coming.values()].filter(isOfSandbox(sandboxId));
    await Promise.all(coming.map(({ over }) => over.promise));
  }

  #checkSandbox({ id, sandboxId }: { readonly id: string; readonly sandboxId: string | undefined }): void {
    for (const each of [id, sandboxId]) if (each !== undefined) this.#sandboxes.checkOpen(each);
  }

  #get(id: string): Container {
    const found = this.#containers.get(id);
    if (!found) throw notFound(`container ${id} not created`);
    return found;
  }

  #lifeHandlers(): Pick<Handlers, "create" | "start" | "delete" | "wait" | "kill" | "exec"> {
    return {
      create: (request) => this.#create(request),
      start: async ({ id, execId }) => {
        const container = this.#get(id);
        if (execId !== "") return { pid: await container.startExec(execId) };
        this.#checkSandbox(container);
        return { pid: await container.start() };
      },
      delete: ({ id, execId }) => (execId === "" ? this.#delete(id) : this.#deleteExec(id, execId)),
      wait: async ({ id, execId }) => {
        const { status, at } = await this.#get(id).process(execId).exited;
        return { exitStatus: status, exitedAt: timestampFromDate(at) };
      },
      kill: async ({ id, execId, signal, all }) => {
        await this.#get(id).kill(execId, signal, { all });
        return {};
      },
      exec: ({ id, execId, spec, ...stdio }) => {
        validateIdentifier(execId, "exec id");
        if (!spec) throw invalidArgument(`exec ${execId}: a process specification is required`);
        void awaitCgroupMoves();
        this.#get(id).addExec(execId, stdio, spec.value);
        return {};
      },
    };
  }

  #processHandlers(): Pick<Handlers, "state" | "resizePty" | "closeIO" | "pids"> {
    return {
      state: ({ id, execId }) => {
        const container = this.#get(id);
        const { exit, pid, request } = container.process(execId);
        const unstarted = execId !== "" && pid === 0;
        // An exec that failed to start has not ended, though nobody need wait for it.
        const status = unstarted ? Status.CREATED : exit ? Status.STOPPED : STATUS[container.status];
        const end = exit && !unstarted ? { exitStatus: exit.status, exitedAt: timestampFromDate(exit.at) } : {};
        return { id: execId || id, bundle: container.bundle, pid, status, execId, ...request, ...end };
      },
      resizePty: ({ id, execId, width, height }) => {
        this.#get(id).process(execId).stdio.resize({ width, height });
        return {};
      },
      closeIO: ({ id, execId, stdin }) => {
        const { stdio } = this.#get(id).process(execId);
        if (stdin) stdio.closeStdin();
        return {};
      },
      pids: async ({ id }) => {
        const container = this.#get(id);
        const execs = new Map(container.execs.list().map((exec) => [exec.pid, exec.execId]));
        const pids = await container.driver.ps(id);
        return { processes: pids.map((pid) => describeProcess(pid, execs.get(pid))) };
      },
    };
  }

  #containerHandlers(): Pick<Handlers, "pause" | "resume" | "checkpoint" | "update" | "stats" | "connect"> {
    return {
      pause: async ({ id }) => {
        await this.#get(id).pause();
        return {};
      },
      resume: async ({ id }) => {
        await this.#get(id).resume();
        return {};
      },
      checkpoint: ({ id, path, options }) => this.#checkpoint(id, path, options),
      update: async ({ id, resources }) => {
        if (!resources) throw invalidArgument(`update of ${id}: resources are required`);
        await this.#update(this.#get(id), resources.value);
        return {};
      },
      stats: ({ id }) => ({ stats: containerStats(this.#get(id)) }),
      connect: ({ id }) => ({ shimPid: process.pid, taskPid: this.#containers.get(id)?.init.pid ?? 0 }),
    };
  }

  async #create(request: Parameters<Handlers["create"]>[0]) {
    const { id, bundle, rootfs, checkpoint } = request;
    validateIdentifier(id, "container id");
    if (request.parentCheckpoint !== "") throw unimplemented("parent checkpoints are not supported");
    await this.#dropIfForsaken(this.#containers.get(id));
    if (this.#containers.has(id) || this.#coming.has(id)) throw alreadyExists(`container ${id}`);
    const facts = readBundleFacts(bundle);
    const coming = { id, sandboxId: facts.sandboxId, over: Promise.withResolvers<void>() };
    this.#checkSandbox(coming);
    this.#coming.set(id, coming);
    void awaitCgroupMoves();
    try {
      const options = parseRuncOptions(request.options);
      writeRuncOptions(bundle, options);
      const { stdin, stdout, stderr, terminal } = request;
      const stdio = { stdin, stdout, stderr, terminal };
      const driver = new RuncDriver({
        command: options.binaryName,
        root: runcRoot(options, this.#context.namespace, this.#context.runcRoot),
        bundle,
        reaper: this.#context.reaper,
        systemdCgroup: options.systemdCgroup,
      });
      const onCreated = (pid: number): void => {
        const event = { containerId: id, bundle, rootfs, io: stdio, checkpoint, pid };
        this.#context.publish("/tasks/create", TaskCreateSchema, event);
      };
      const settings = { id, bundle, facts, rootfs, stdio, options, checkpoint, onCreated };
      const container = await Container.create(settings, driver, this.#context);
      this.#containers.set(id, container);
      return { pid: container.init.pid };
    } finally {
      this.#coming.delete(id);
      coming.over.resolve();
    }
  }

  async #delete(id: string) {
    // a daemon that gives a creation up removes what comes of it, and cannot know when that is
    await this.#coming.get(id)?.over.promise;
    const container = this.#get(id);
    await container.delete();
    // meanwhile another one may have come in its place
    if (this.#containers.get(id) === container) this.#containers.delete(id);
    const { pid, exit } = container.init;
    const end = { pid, exitStatus: exit?.status ?? 0, ...(exit ? { exitedAt: timestampFromDate(exit.at) } : {}) };
    this.#context.publish("/tasks/delete", TaskDeleteSchema, { containerId: id, ...end });
    return end;
  }

  async #deleteExec(id: string, execId: string) {
    const container = this.#get(id);
    const { pid } = container.process(execId);
    const exit = await container.execs.delete(execId);
    return { pid, exitStatus: exit?.status ?? 0, ...(exit ? { exitedAt: timestampFromDate(exit.at) } : {}) };
  }

  async #checkpoint(id: string, path: string, any: Any | undefined) {
    const container = this.#get(id);
    const options = parseCheckpointOptions(any);
    if (container.status !== "running" && container.status !== "paused")
      throw unknown(`cannot checkpoint a ${container.status} task`);
    await container.driver.checkpoint(id, {
      ...options,
      imagePath: options.imagePath || path,
      workPath: options.workPath || criuWorkPath(container.bundle),
      leaveRunning: !options.exit,
      shellJob: options.terminal,
    });
    this.#context.publish("/tasks/checkpointed", TaskCheckpointedSchema, { containerId: id, checkpoint: path });
    return {};
  }

  async #update(container: Container, resources: Uint8Array): Promise<void> {
    if (container.status === "stopped") throw unknown("cannot update a stopped container");
    const file = join(container.bundle, `resources.${crypto.randomUUID()}.json`);
    writeFileSync(file, resources, { mode: 0o600 });
    try {
      await container.driver.update(container.id, file);
    } finally {
      rmSync(file, { force: true });
    }
  }
}

function isOfSandbox(sandboxId: string) {
  return (each: { readonly id: string; readonly sandboxId: string | undefined }): boolean =>
    each.sandboxId === sandboxId || each.id === sandboxId;
}
