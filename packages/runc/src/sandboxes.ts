import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { type Timestamp, timestampFromDate, timestampNow } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import type { Sandbox as SandboxService } from "@berth/api/containerd/runtime/sandbox/v1/sandbox";
import type { Logger } from "@berth/core/log";
import { validateIdentifier } from "@berth/core/namespaces";
import { alreadyExists, failedPrecondition, isNotFound, messageOf, notFound } from "@berth/errors";
import { mountAll, unmountRecursive } from "@berth/linux/mount";
import { hostPlatform } from "@berth/oci";

import type { Container } from "./container.ts";
import { sandboxStats } from "./task-messages.ts";

const SIGTERM = 15;
const SIGKILL = 9;
/** How long the containers of a sandbox may take to end when they are killed. */
const KILL_TIMEOUT_MS = 10_000;

type Handlers = ServiceImpl<typeof SandboxService>;

interface Sandbox {
  readonly id: string;
  readonly rootfs: string | undefined;
  readonly netns: string;
  readonly stopped: PromiseWithResolvers<Date>;
  createdAt: Date | undefined;
  exitedAt: Date | undefined;
}

/**
 * The sandboxes of one shim process: each is the life that some of its containers share, without a process of its own. Stopping one
 * ends its containers. One that is not shut down keeps the shim.
 */
export class Sandboxes implements AsyncDisposable {
  readonly service: Handlers;
  readonly #sandboxes = new Map<string, Sandbox>();
  /** Those that are being made. */
  readonly #coming = new Set<string>();
  readonly #containersOf: (sandboxId: string) => readonly Container[];
  readonly #log: Logger;

  constructor(containersOf: (sandboxId: string) => readonly Container[], log: Logger) {
    this.#containersOf = containersOf;
    this.#log = log;
    this.service = { ...this.#lifeHandlers(), ...this.#queryHandlers() };
  }

  get size(): number {
    return this.#sandboxes.size + this.#coming.size;
  }

  /** This answers who waits; the containers live on. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const { id, stopped } of this.#sandboxes.values()) stopped.reject(notFound(`sandbox ${id}: the shim ends`));
    this.#sandboxes.clear();
  }

  #get(id: string): Sandbox {
    const found = this.#sandboxes.get(id);
    if (!found) throw notFound(`sandbox ${id}`);
    return found;
  }

  #lifeHandlers(): Pick<
    Handlers,
    "createSandbox" | "startSandbox" | "stopSandbox" | "shutdownSandbox" | "waitSandbox"
  > {
    return {
      createSandbox: (request) => this.#create(request),
      startSandbox: ({ sandboxId }) => {
        const sandbox = this.#get(sandboxId);
        if (sandbox.createdAt) throw failedPrecondition(`sandbox ${sandboxId} was started before`);
        sandbox.createdAt = new Date();
        return { pid: process.pid, createdAt: timestampFromDate(sandbox.createdAt) };
      },
      stopSandbox: async ({ sandboxId, timeoutSecs }) => {
        await this.#stop(this.#get(sandboxId), timeoutSecs * 1000);
        return {};
      },
      shutdownSandbox: async ({ sandboxId }) => {
        const sandbox = this.#get(sandboxId);
        await this.#stop(sandbox, 0);
        if (sandbox.rootfs !== undefined) await unmountRecursive(sandbox.rootfs);
        this.#sandboxes.delete(sandboxId);
        return {};
      },
      waitSandbox: async ({ sandboxId }) => ({
        exitStatus: 0,
        exitedAt: timestampFromDate(await this.#get(sandboxId).stopped.promise),
      }),
    };
  }

  #queryHandlers(): Pick<Handlers, "platform" | "sandboxStatus" | "pingSandbox" | "sandboxMetrics"> {
    return {
      platform: ({ sandboxId }) => {
        this.#get(sandboxId);
        const { os, architecture, variant = "" } = hostPlatform();
        return { platform: { os, architecture, variant } };
      },
      sandboxStatus: ({ sandboxId, verbose }) => this.#status(this.#get(sandboxId), verbose),
      pingSandbox: ({ sandboxId }) => {
        this.#get(sandboxId);
        return {};
      },
      sandboxMetrics: ({ sandboxId }) => {
        this.#get(sandboxId);
        const data = sandboxStats(this.#containersOf(sandboxId));
        return { metrics: { timestamp: timestampNow(), id: sandboxId, data } };
      },
    };
  }

  async #create({
    sandboxId: id,
    bundlePath,
    rootfs: mounts,
    netnsPath: netns,
  }: Parameters<Handlers["createSandbox"]>[0]) {
    validateIdentifier(id, "sandbox id");
    if (this.#sandboxes.has(id) || this.#coming.has(id)) throw alreadyExists(`sandbox ${id}`);
    const rootfs = mounts.length > 0 ? join(bundlePath, "rootfs") : undefined;
    this.#coming.add(id);
    try {
      if (rootfs !== undefined) await mountSandboxRootfs(mounts, rootfs);
      const stopped = Promise.withResolvers<Date>();
      // nobody has to wait
      stopped.promise.catch(() => {});
      this.#sandboxes.set(id, { id, rootfs, netns, stopped, createdAt: undefined, exitedAt: undefined });
    } finally {
      this.#coming.delete(id);
    }
    return {};
  }

  #status(sandbox: Sandbox, verbose: boolean) {
    const { id, createdAt, exitedAt, netns } = sandbox;
    const times: { createdAt?: Timestamp; exitedAt?: Timestamp } = {};
    if (createdAt) times.createdAt = timestampFromDate(createdAt);
    if (exitedAt) times.exitedAt = timestampFromDate(exitedAt);
    const containers = this.#containersOf(id).map((container) => container.id);
    const info = verbose ? { containers: JSON.stringify(containers), netns } : {};
    return { sandboxId: id, pid: exitedAt ? 0 : process.pid, state: stateOf(sandbox), info, ...times };
  }

  /** This ends the containers: it asks them to, and kills what is left after `graceMs`. A stopped sandbox stays so. */
  async #stop(sandbox: Sandbox, graceMs: number): Promise<void> {
    const containers = this.#containersOf(sandbox.id);
    if (graceMs > 0) await this.#endAll(containers, SIGTERM, graceMs);
    const left = await this.#endAll(containers, SIGKILL, KILL_TIMEOUT_MS);
    if (left.length > 0) throw failedPrecondition(`sandbox ${sandbox.id}: containers ${left.join(", ")} do not end`);
    sandbox.exitedAt ??= new Date();
    sandbox.stopped.resolve(sandbox.exitedAt);
  }

  /** This signals every container that runs, and returns the ids of those that have not ended in time. */
  async #endAll(containers: readonly Container[], signal: number, timeoutMs: number): Promise<string[]> {
    const running = containers.filter(({ init }) => !init.exit && init.pid !== 0);
    await Promise.all(running.map((container) => this.#signal(container, signal)));
    const done = new AbortController();
    const ended = Promise.all(running.map(({ init }) => init.exited));
    await Promise.race([ended, sleep(timeoutMs, undefined, { signal: done.signal }).catch(() => {})]);
    done.abort();
    return running.filter(({ init }) => !init.exit).map(({ id }) => id);
  }

  async #signal(container: Container, signal: number): Promise<void> {
    try {
      await container.kill("", signal);
      // frozen processes take no signal
      if (container.status === "paused") await container.resume();
    } catch (error) {
      if (!isNotFound(error)) this.#log.warn("container not signalled", { id: container.id, error: messageOf(error) });
    }
  }
}

async function mountSandboxRootfs(mounts: Parameters<typeof mountAll>[0], rootfs: string): Promise<void> {
  await using undo = new AsyncDisposableStack();
  mkdirSync(rootfs, { recursive: true, mode: 0o711 });
  undo.defer(() => unmountRecursive(rootfs));
  await mountAll(mounts, rootfs);
  undo.move();
}

function stateOf({ createdAt, exitedAt }: Sandbox): string {
  if (exitedAt) return "SANDBOX_NOTREADY";
  return createdAt ? "SANDBOX_READY" : "SANDBOX_CREATED";
}
