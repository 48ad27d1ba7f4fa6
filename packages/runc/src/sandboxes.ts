import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { type Timestamp, timestampFromDate, timestampNow } from "@bufbuild/protobuf/wkt";
import type { ServiceImpl } from "@connectrpc/connect";
import type { Sandbox as SandboxService } from "@berth/api/containerd/runtime/sandbox/v1/sandbox";
import { MAX_TIMER_MS } from "@berth/core/call-limits";
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
  /** Set when it begins to stop: nothing new comes in from then on. */
  isClosed: boolean;
  exitedAt: Date | undefined;
}

/** The containers of a sandbox. */
export interface SandboxContainers {
  /** Those that are there. */
  of(sandboxId: string): readonly Container[];
  /** Resolves when those that are being made are there, or failed. */
  made(sandboxId: string): Promise<unknown>;
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
  readonly #containers: SandboxContainers;
  readonly #log: Logger;

  constructor(containers: SandboxContainers, log: Logger) {
    this.#containers = containers;
    this.#log = log;
    this.service = { ...this.#lifeHandlers(), ...this.#queryHandlers() };
  }

  get size(): number {
    return this.#sandboxes.size + this.#coming.size;
  }

  /** @throws failed_precondition - the sandbox is there and stops, or has: what came into it now would outlive it */
  checkOpen(id: string): void {
    if (this.#sandboxes.get(id)?.isClosed) throw failedPrecondition(`sandbox ${id} is stopped`);
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
        const data = sandboxStats(this.#containers.of(sandboxId));
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
      this.#sandboxes.set(id, {
        id,
        rootfs,
        netns,
        stopped,
        createdAt: undefined,
        isClosed: false,
        exitedAt: undefined,
      });
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
    const containers = this.#containers.of(id).map((container) => container.id);
    const info = verbose ? { containers: JSON.stringify(containers), netns } : {};
    return { sandboxId: id, pid: exitedAt ? 0 : process.pid, state: stateOf(sandbox), info, ...times };
  }

  /** This ends the containers, each that is being made as soon as all of these are there. A stopped sandbox stays so. */
  async #stop(sandbox: Sandbox, graceMs: number): Promise<void> {
    sandbox.isClosed = true;
    const there = this.#containers.of(sandbox.id);
    const endRest = async (): Promise<{ readonly left: readonly string[]; readonly areMade: boolean }> => {
      const areMade = await isWithin(this.#containers.made(sandbox.id), KILL_TIMEOUT_MS);
      const come = this.#containers.of(sandbox.id).filter((container) => !there.includes(container));
      return { left: await this.#end(come, graceMs), areMade };
    };
    // one that hangs while it is made keeps no other
    const [left, rest] = await Promise.all([this.#end(there, graceMs), endRest()]);
    left.push(...rest.left);
    if (left.length > 0) throw failedPrecondition(`sandbox ${sandbox.id}: containers ${left.join(", ")} do not end`);
    if (!rest.areMade) throw failedPrecondition(`sandbox ${sandbox.id}: a container is still being made`);
    sandbox.exitedAt ??= new Date();
    sandbox.stopped.resolve(sandbox.exitedAt);
  }

  /** This asks containers to end, kills what is left after `graceMs`, and returns the ids of those that have not ended even so. */
  async #end(containers: readonly Container[], graceMs: number): Promise<string[]> {
    if (graceMs > 0) await this.#endAll(containers, SIGTERM, graceMs);
    return await this.#endAll(containers, SIGKILL, KILL_TIMEOUT_MS);
  }

  /** This signals every container that runs, and returns the ids of those that have not ended in time. */
  async #endAll(containers: readonly Container[], signal: number, timeoutMs: number): Promise<string[]> {
    const running = containers.filter(({ isAlive }) => isAlive);
    await Promise.all(running.map((container) => this.#signal(container, signal)));
    await isWithin(Promise.all(running.map(({ ended }) => ended)), timeoutMs);
    return running.filter(({ isAlive }) => isAlive).map(({ id }) => id);
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

/** Whether `work` is done in that time. */
async function isWithin(work: Promise<unknown>, timeoutMs: number): Promise<boolean> {
  const done = new AbortController();
  const late = sleep(Math.min(timeoutMs, MAX_TIMER_MS), false, { signal: done.signal }).catch(() => false);
  const isDone = await Promise.race([work.then(() => true), late]);
  done.abort();
  return isDone;
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
