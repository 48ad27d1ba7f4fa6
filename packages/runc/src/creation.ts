import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import type { Logger } from "@berth/core/log";
import { messageOf, systemErrorCode } from "@berth/errors";

import { cgroupDirectories, cgroupProcesses, cgroupTree } from "./cgroups/cgroup-directories.ts";
import { clearCgroup, killProcess } from "./cgroups/remove-cgroup.ts";
import { clockTicks, CreationProcesses } from "./creation-processes.ts";
import { criuWorkPath, lockCriuWorkPath, removeCriuMounts } from "./criu-mounts.ts";
import type { RuncDriver } from "./runc-driver.ts";

const NOTE = "creating.json";
const END_TRIES = 100;
const END_PAUSE_MS = 20;
/** Who cleans up after a shim that has died has little time, and more to do. */
const LOCK_TIMEOUT_MS = 1000;

/** What a runtime was about to make. */
export interface CreationSubject {
  readonly id: string;
  readonly bundle: string;
}

/** How a runtime makes it. */
interface CreationPlan {
  readonly cgroupsPath: string | undefined;
  /** Where CRIU works in a restore, if not in the bundle. */
  readonly workPath?: string | undefined;
}

/** Which of the places where a runtime leaves something were free before it began; the others are another's. */
interface CreationNote {
  readonly stateWasFree: boolean;
  readonly freeCgroups: readonly string[];
  /** {@link clockTicks} before anything was made. */
  readonly since: number;
  /** Where CRIU works in a restore, if not in the bundle. */
  readonly workPath?: string | undefined;
}

/**
 * One run of the runtime that makes a container, noted in the bundle as long as it lasts. A runtime that is killed in the middle of it
 * leaves a process in the container's cgroup, on v1 a frozen one, of which it has no record itself.
 */
export class Creation {
  readonly #subject: CreationSubject;
  readonly #note: CreationNote;
  readonly #processes: CreationProcesses;

  private constructor(subject: CreationSubject, note: CreationNote, driver: RuncDriver) {
    this.#subject = subject;
    this.#note = note;
    const state = note.stateWasFree ? driver.stateOf(subject.id) : undefined;
    this.#processes = new CreationProcesses({ bundle: subject.bundle, state, since: note.since });
  }

  /** This looks at what is there already, which is another's, and notes what is not. */
  static begin(subject: CreationSubject, { cgroupsPath, workPath }: CreationPlan, driver: RuncDriver): Creation {
    const cgroups = cgroupDirectories(cgroupsPath);
    const isFree = cgroups.flatMap(cgroupTree).every((directory) => cgroupProcesses(directory).length === 0);
    const stateWasFree = !existsSync(driver.stateOf(subject.id));
    const note: CreationNote = { stateWasFree, freeCgroups: isFree ? cgroups : [], since: clockTicks(), workPath };
    writeFileSync(join(subject.bundle, NOTE), JSON.stringify(note), { mode: 0o600 });
    return new Creation(subject, note, driver);
  }

  /** This finds a creation that nobody finished; `undefined` where there is none. */
  static find(subject: CreationSubject, driver: RuncDriver): Creation | undefined {
    try {
      const note: unknown = JSON.parse(readFileSync(join(subject.bundle, NOTE), "utf8"));
      // written by this class alone, below a directory of root's
      return new Creation(subject, note as CreationNote, driver);
    } catch (error) {
      // a writer that was killed had not started the runtime yet
      if (systemErrorCode(error) === "ENOENT" || error instanceof SyntaxError) return undefined;
      throw error;
    }
  }

  /** The container is there, or nothing of it. */
  finish(): void {
    rmSync(join(this.#subject.bundle, NOTE), { force: true });
  }

  /** This kills the runtime at its work, which may go on although its shim has died, and waits for its end. */
  async endRuntime(log: Logger): Promise<void> {
    const pids = this.#processes.runtimes();
    this.#recognise();
    for (const pid of pids) killProcess(pid);
    for (let tries = 0; tries < END_TRIES && pids.some(isRunning); tries++) await sleep(END_PAUSE_MS);
    if (pids.length > 0) log.warn("runtime killed that was making a container", { id: this.#subject.id, pids });
  }

  /**
   * This removes what the runtime has left: its state, as far as it knows of it, its processes in the cgroup, and the cgroup unless
   * another container has come to use it meanwhile. `holdsWorkPath`: the caller has {@link lockCriuWorkPath}; without it, CRIU's mounts
   * stay where another restore has it.
   */
  async undo(
    driver: RuncDriver,
    log: Logger,
    { holdsWorkPath = false }: { readonly holdsWorkPath?: boolean } = {},
  ): Promise<void> {
    const { id } = this.#subject;
    const attempt = async (message: string, work: () => Promise<void>): Promise<void> => {
      await work().catch((error: unknown) => log.warn(message, { id, error: messageOf(error) }));
    };
    const { stateWasFree, freeCgroups, workPath } = this.#note;
    this.#recognise();
    if (stateWasFree && existsSync(driver.stateOf(id)))
      await attempt("container not deleted", () => driver.delete(id, { force: true }));
    await attempt("cgroup not removed", () => clearCgroup(freeCgroups, (pid) => this.#processes.isOwn(pid)));
    const removeMounts = async (): Promise<void> => {
      using _alone =
        workPath === undefined || holdsWorkPath
          ? undefined
          : await lockCriuWorkPath(workPath, { timeoutMs: LOCK_TIMEOUT_MS });
      await removeCriuMounts(workPath ?? criuWorkPath(this.#subject.bundle), driver.stateOf(id));
    };
    if (stateWasFree) await attempt("mounts not removed", removeMounts);
    this.finish();
  }

  /** What descends from a process is not to be told any more once that has ended. */
  #recognise(): void {
    for (const pid of this.#note.freeCgroups.flatMap(cgroupTree).flatMap(cgroupProcesses)) this.#processes.isOwn(pid);
  }
}

function isRunning(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}
