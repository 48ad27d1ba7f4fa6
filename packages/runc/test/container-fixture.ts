import { chmodSync, constants, copyFileSync, mkdirSync, openSync, symlinkSync, writeFileSync } from "node:fs";
import { Socket } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";

import { create, type DescMessage, type MessageInitShape, type MessageShape, toBinary } from "@bufbuild/protobuf";
import type { AnySchema } from "@bufbuild/protobuf/wkt";
import { createHandlerContext, type HandlerContext } from "@connectrpc/connect";
import { OptionsSchema } from "@berth/api/containerd/runc/v1/options";
import { CreateTaskRequestSchema, ExecProcessRequestSchema, Task } from "@berth/api/containerd/task/v3/task";
import type { Logger } from "@berth/core/log";
import { silentLogger } from "@berth/core/log";
import { mkfifo } from "@berth/linux/files";
import { ChildReaper, setSubreaper } from "@berth/linux/process";
import { createRuncTasks, type ProcessExitRecord, type RuncTasks } from "@berth/runc";
import { debianPath, debianTool, temporaryDirectory } from "@berth/testing";

const APPLETS = ["sh", "cat", "echo", "true", "sleep", "stty", "tty", "dd", "seq", "tail", "wc", "head"];

/** An event as it was published. */
export interface SeenEvent {
  readonly topic: string;
  readonly event: Readonly<Record<string, unknown>>;
}

/** Streams of an exec. */
export interface ExecStdio {
  readonly stdin?: string;
  readonly stdout?: string;
  readonly stderr?: string;
  readonly terminal?: boolean;
}

/** What an exec may have that differs from init. */
export interface ExecProcess {
  readonly cwd?: string;
  readonly user?: { readonly uid: number; readonly gid: number; readonly additionalGids?: readonly number[] };
  readonly env?: readonly string[];
  /** What the process itself says, beside the request. */
  readonly terminal?: boolean;
}

/** What a bundle is made for. */
export interface BundleOptions {
  readonly args: readonly string[];
  readonly terminal?: boolean;
  readonly hostPids?: boolean;
  readonly memoryLimit?: number;
  readonly sandboxId?: string;
  readonly hooks?: Readonly<Record<string, readonly { readonly path: string }[]>>;
}

/** The Task service in this process, with a directory for its bundles, everything it has published, and real runc. */
export class TasksFixture implements AsyncDisposable {
  readonly directory: string;
  readonly tasks: RuncTasks;
  readonly events: SeenEvent[] = [];
  readonly records: ProcessExitRecord[] = [];
  /** Exec ids whose records were taken back. */
  readonly forgotten: string[] = [];
  readonly warnings: string[] = [];
  readonly #stack: AsyncDisposableStack;

  private constructor(directory: string, stack: AsyncDisposableStack) {
    this.directory = directory;
    this.#stack = stack;
    const reaper = stack.use(new ChildReaper({ mode: "all" }));
    const log: Logger = { ...silentLogger, warn: (message) => void this.warnings.push(message) };
    this.tasks = createRuncTasks({
      namespace: "test",
      reaper,
      log,
      runcRoot: join(directory, "runc"),
      publish: (topic, _, event) => void this.events.push({ topic, event: event as SeenEvent["event"] }), // any message is a record
      forgetExit: (_, execId) => void this.forgotten.push(execId),
      recordExit: (_, record) => {
        this.records.push(record);
        this.events.push({ topic: "record", event: { ...record } });
      },
    });
    stack.use(this.tasks);
  }

  static async open(): Promise<TasksFixture> {
    process.env["PATH"] = debianPath();
    setSubreaper(true);
    const stack = new AsyncDisposableStack();
    const { path } = stack.use(await temporaryDirectory("runc"));
    const binaries = join(path, "image", "bin");
    for (const name of ["bin", "proc", "dev", "tmp"]) mkdirSync(join(path, "image", name), { recursive: true });
    copyFileSync(debianTool("busybox"), join(binaries, "busybox"));
    chmodSync(join(binaries, "busybox"), 0o755);
    for (const applet of APPLETS) symlinkSync("busybox", join(binaries, applet));
    return new TasksFixture(path, stack);
  }

  get service(): RuncTasks["service"] {
    return this.tasks.service;
  }

  /** Topics of one container's events, in order. */
  topics(id: string): string[] {
    return this.events
      .filter(({ event }) => event["containerId"] === id || event["id"] === id)
      .map(({ topic }) => topic);
  }

  /** Options that name a runtime which is runc, with shell code before and after its arguments. */
  runtime(name: string, after: string, before = ""): MessageInitShape<typeof AnySchema> {
    const binaryName = join(this.directory, name);
    writeFileSync(binaryName, `#!/bin/sh\n${before}\n${debianTool("runc")} ${after}\n`, { mode: 0o755 });
    return runcOptions({ binaryName });
  }

  bundle(id: string, options: BundleOptions): string {
    const bundle = join(this.directory, id);
    mkdirSync(join(bundle, "rootfs"), { recursive: true });
    writeFileSync(join(bundle, "config.json"), JSON.stringify(specification(id, options)));
    return bundle;
  }

  /** This makes a FIFO below the bundle and reads it to its end. */
  reader(bundle: string, name: string): { readonly path: string; readonly text: Promise<string> } {
    const { path, socket } = this.slowReader(bundle, name);
    return { path, text: text(socket) };
  }

  /** This makes a FIFO and opens it without reading. */
  slowReader(bundle: string, name: string): { readonly path: string; readonly socket: Socket } {
    const path = join(bundle, name);
    mkfifo(path, 0o700);
    return { path, socket: this.openReader(path).pause() };
  }

  openReader(path: string): Socket {
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    return new Socket({ fd, readable: true, writable: false });
  }

  /** This makes a FIFO to write to. */
  input(bundle: string, name: string): { readonly path: string; readonly open: () => Socket } {
    const path = join(bundle, name);
    mkfifo(path, 0o700);
    const open = (): Socket => {
      const fd = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
      return new Socket({ fd, readable: false, writable: true });
    };
    return { path, open };
  }

  async create(id: string, options: BundleOptions, stdio: MessageInitShape<typeof CreateTaskRequestSchema> = {}) {
    const bundle = this.bundle(id, options);
    const source = join(this.directory, "image");
    const rootfs = [{ type: "bind", source, options: ["rbind", "ro"] }];
    const request = { id, bundle, rootfs, terminal: options.terminal ?? false, ...stdio };
    await this.service.create(create(CreateTaskRequestSchema, request), context("create"));
    return bundle;
  }

  /** This calls a method of the service with an id and more. */
  call<N extends "start" | "delete" | "wait" | "state" | "pause" | "resume" | "pids" | "stats" | "connect">(
    name: N,
    id: string,
    execId = "",
  ) {
    const method = Task.method[name];
    const request = create(method.input as DescMessage, { id, execId } as MessageInitShape<DescMessage>); // all of these have these fields
    // the generated handler types cannot be indexed by a union of names
    const handler = this.service[name] as (
      request: MessageShape<DescMessage>,
      context: HandlerContext,
    ) => ReturnType<RuncTasks["service"][N]>;
    return (async () => await handler(request, context(name)))() as Promise<
      Awaited<ReturnType<RuncTasks["service"][N]>>
    >; // the same, awaited
  }

  async kill(id: string, signal = 9, execId = ""): Promise<void> {
    const request = { $typeName: "containerd.task.v3.KillRequest" as const, id, execId, signal, all: false };
    await this.service.kill(request, context("kill"));
  }

  async exec(id: string, execId: string, args: readonly string[], stdio: ExecStdio = {}, own: ExecProcess = {}) {
    const common = { env: ["PATH=/bin"], cwd: "/", user: { uid: 0, gid: 0 } };
    const process = { ...common, terminal: stdio.terminal ?? false, ...own, args };
    const value = new TextEncoder().encode(JSON.stringify(process));
    const request = create(ExecProcessRequestSchema, { ...stdio, id, execId, spec: { typeUrl: "process", value } });
    await this.service.exec(request, context("exec"));
  }

  /** This ends and removes a container whatever its state. */
  async remove(id: string): Promise<void> {
    await this.kill(id).catch(() => {});
    await this.call("wait", id);
    await this.call("delete", id);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

/** Options of a container, as a client sends them. */
export function runcOptions(fields: MessageInitShape<typeof OptionsSchema>): MessageInitShape<typeof AnySchema> {
  return { typeUrl: OptionsSchema.typeName, value: toBinary(OptionsSchema, create(OptionsSchema, fields)) };
}

/** A context as a server would make it. */
export function context(method: keyof typeof Task.method): HandlerContext {
  const fixed = { service: Task, requestMethod: "POST", protocolName: "ttrpc", url: "ttrpc:///" };
  return createHandlerContext({ ...fixed, method: Task.method[method] });
}

/** Descriptors that are open in this process. */
export async function openDescriptors(): Promise<number> {
  const { readdirSync } = await import("node:fs");
  return readdirSync("/proc/self/fd").length;
}

function specification(id: string, options: BundleOptions) {
  const { args, terminal = false, hostPids = false, memoryLimit, sandboxId, hooks } = options;
  const namespaces = ["ipc", "uts", "mount", "network", ...(hostPids ? [] : ["pid"])];
  const memory = memoryLimit === undefined ? {} : { memory: { limit: memoryLimit, swap: memoryLimit } };
  return {
    ociVersion: "1.0.2",
    ...(sandboxId === undefined ? {} : { annotations: { "io.kubernetes.cri.sandbox-id": sandboxId } }),
    process: { terminal, user: { uid: 0, gid: 0 }, args, env: ["PATH=/bin"], cwd: "/" },
    root: { path: "rootfs" },
    ...(hooks === undefined ? {} : { hooks }),
    mounts: [
      { destination: "/proc", type: "proc", source: "proc" },
      { destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["nosuid", "mode=755"] },
      {
        destination: "/dev/pts",
        type: "devpts",
        source: "devpts",
        options: ["newinstance", "ptmxmode=0666", "mode=0620"],
      },
    ],
    linux: {
      cgroupsPath: `/berth-test-${process.pid}-${id}`,
      namespaces: namespaces.map((type) => ({ type })),
      resources: { devices: [{ allow: true, access: "rwm" }], ...memory },
    },
  };
}
