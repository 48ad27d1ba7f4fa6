import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setImmediate as turn, setTimeout as sleep } from "node:timers/promises";

import { TaskExecAddedSchema, TaskExecStartedSchema } from "@berth/api/containerd/events/task";
import { alreadyExists, failedPrecondition, notFound, systemErrorCode, unknown, wrapError } from "@berth/errors";

import { awaitCgroupMoves } from "./cgroups/await-moves.ts";
import { killProcess } from "./cgroups/remove-cgroup.ts";
import { processWithTerminal } from "./exec-process.ts";
import type { ExitNews } from "./exit-news.ts";
import type { RuncDriver } from "./runc-driver.ts";
import { DRAIN_TIMEOUT_MS, type ProcessExit, ShimProcess } from "./shim-process.ts";
import type { ProcessStdio, StdioRequest } from "./stdio/process-stdio.ts";
import type { RuncTasksContext } from "./tasks-context.ts";

const FAILED_TO_START = 255;

/** Whose processes they are. */
export interface ExecSettings {
  readonly id: string;
  readonly bundle: string;
  readonly driver: RuncDriver;
  readonly news: ExitNews;
  readonly context: RuncTasksContext;
  readonly openStdio: (request: StdioRequest) => ProcessStdio;
}

/** The further processes of one container, by exec id. */
export class ExecProcesses {
  readonly #settings: ExecSettings;
  readonly #processes = new Map<string, ShimProcess>();
  readonly #starting = new Set<ShimProcess>();

  constructor(settings: ExecSettings) {
    this.#settings = settings;
  }

  /** @throws not_found */
  get(execId: string): ShimProcess {
    const found = this.#processes.get(execId);
    if (!found) throw notFound(`process ${execId} of container ${this.#settings.id} does not exist`);
    return found;
  }

  list(): ShimProcess[] {
    return [...this.#processes.values()];
  }

  async #allEnded(): Promise<void> {
    const isActive = (exec: ShimProcess): boolean => !exec.exit && (exec.pid !== 0 || this.#starting.has(exec));
    for (let left = this.list().filter(isActive); left.length > 0; left = this.list().filter(isActive))
      await Promise.all(left.map((exec) => exec.exited));
  }

  /** Resolves when none runs, nor is being started, or the time is over. */
  async endedWithin(timeoutMs: number): Promise<void> {
    const done = new AbortController();
    const limit = sleep(timeoutMs, undefined, { signal: done.signal, ref: false }).catch(() => {});
    await Promise.race([this.#allEnded(), limit]);
    done.abort();
  }

  /** This adds a process, given as OCI process JSON, which `start` starts. @throws already_exists @throws invalid_argument - no such JSON */
  add(execId: string, request: StdioRequest, spec: Uint8Array): void {
    const { id, context, openStdio } = this.#settings;
    if (this.#processes.has(execId)) throw alreadyExists(`process ${execId} of container ${id}`);
    const process = processWithTerminal(spec, request.terminal);
    const added = new ShimProcess(execId, request, openStdio(request));
    writeFileSync(this.#file(execId, "process.json"), process, { mode: 0o600 });
    this.#processes.set(execId, added);
    context.publish("/tasks/exec-added", TaskExecAddedSchema, { containerId: id, execId });
  }

  /** This starts a process. `check` is asked right before. @throws unknown - it was started before, or the runtime failed */
  async start(execId: string, check: () => void): Promise<number> {
    const exec = this.get(execId);
    await exec.turns.run(async () => {
      if (exec.pid !== 0 || exec.exit) throw unknown(`cannot start a ${exec.exit ? "stopped" : "running"} process`);
      check();
      void awaitCgroupMoves();
      const { id, context, news } = this.#settings;
      this.#starting.add(exec);
      try {
        exec.pid = await this.#run(exec);
      } catch (error) {
        await exec.stdio[Symbol.asyncDispose]();
        exec.setExit({ status: FAILED_TO_START, exitedAt: new Date() });
        exec.announceExit();
        throw error;
      } finally {
        this.#starting.delete(exec);
      }
      context.publish("/tasks/exec-started", TaskExecStartedSchema, { containerId: id, execId, pid: exec.pid });
      news.watch(exec, async (status) => {
        news.record(exec, status);
        await news.tell(exec, status);
      });
    });
    return exec.pid;
  }

  /** @throws not_found - it has ended @throws failed_precondition - it was not started */
  kill(execId: string, signal: number): void {
    const exec = this.get(execId);
    if (exec.exit) throw notFound("process already finished");
    if (exec.pid === 0) throw failedPrecondition(`process ${execId} is not started`);
    // its id may be another process's by now
    if (exec.reaped) throw notFound("process already finished");
    try {
      process.kill(exec.pid, signal);
    } catch (error) {
      if (systemErrorCode(error) === "ESRCH") throw notFound("process already finished", { cause: error });
      throw wrapError(error, `kill process ${execId} with signal ${signal}`);
    }
  }

  /** This removes a process that has ended or never ran. @throws unknown - it runs */
  async delete(execId: string): Promise<ProcessExit | undefined> {
    const exec = this.get(execId);
    return await exec.turns.run(async () => {
      if (exec.pid !== 0 && !exec.exit) throw unknown("cannot delete a running process");
      await exec.stdio.drain(DRAIN_TIMEOUT_MS);
      await exec.stdio[Symbol.asyncDispose]();
      rmSync(this.#file(execId, "process.json"), { force: true });
      this.#processes.delete(execId);
      if (exec.exit) this.#settings.news.forget(execId);
      else exec.announceRemoval();
      return exec.exit;
    });
  }

  async #run(exec: ShimProcess): Promise<number> {
    const { id, bundle, driver } = this.#settings;
    const processFile = this.#file(exec.execId, "process.json");
    const pidFile = this.#file(exec.execId, "pid");
    const logFile = this.#file(exec.execId, "log.json");
    let pid = 0;
    try {
      await exec.stdio.start(async (stdio, consoleSocket) => {
        pid = await driver.exec(id, { bundle, processFile, pidFile, logFile, stdio, consoleSocket });
      });
      return pid;
    } catch (error) {
      // only its terminal did not arrive: nobody would have hold of it
      if (pid !== 0) await killUnlessEnded(this.#settings.context.reaper, pid);
      throw error;
    } finally {
      for (const file of [processFile, pidFile, logFile]) rmSync(file, { force: true });
    }
  }

  #file(execId: string, kind: string): string {
    return join(this.#settings.bundle, `exec.${execId}.${kind}`);
  }
}

async function killUnlessEnded(reaper: RuncTasksContext["reaper"], pid: number): Promise<void> {
  let hasEnded = false;
  void reaper.wait(pid).then(
    () => {
      hasEnded = true;
    },
    // a reaper of registered children knows nothing of it
    () => {},
  );
  // an end that is known is told at once; the id may be another process's then
  await turn();
  if (!hasEnded) killProcess(pid);
}
