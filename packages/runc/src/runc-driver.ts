import { existsSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";

import { internal, notFound, unknown } from "@berth/errors";
import type { ChildDescriptor, ChildReaper } from "@berth/linux/process";

import { type CheckpointArguments, checkpointFlags, criuErrors, requireCriu } from "./criu.ts";
import { deletePlain, startPlain } from "./runc-state.ts";
import { type CommandResult, runCommand } from "./run-command.ts";
import { lastLogError, logSize } from "./runtime-log.ts";

/** Which runtime to drive, and where it keeps its state. */
export interface RuncDriverOptions {
  /** Name looked up on PATH, or a path; default `runc`. */
  readonly command?: string | undefined;
  /** `--root`: the directory of one namespace. */
  readonly root: string;
  /** The directory of the container. Its runtime runs and logs there: programs that wrap runc read `config.json` and `--log`. */
  readonly bundle?: string | undefined;
  readonly reaper: ChildReaper;
  readonly systemdCgroup?: boolean | undefined;
}

/** What the commands have in common that start a process. */
interface StartingOptions {
  readonly bundle: string;
  readonly pidFile: string;
  readonly consoleSocket?: string | undefined;
  readonly stdio: readonly ChildDescriptor[];
}

export interface CreateOptions extends StartingOptions {
  readonly noPivotRoot?: boolean | undefined;
  readonly noNewKeyring?: boolean | undefined;
}

export interface RuncExecOptions extends StartingOptions {
  /** File with the OCI process, as JSON. */
  readonly processFile: string;
  /** Log of this command alone. */
  readonly logFile: string;
}

export interface StartOptions {
  readonly bundle: string;
  /** What {@link RuncDriver.create} returned, and what comes when it ends: without it runc itself must look after it. */
  readonly init?: { readonly pid: number; readonly ended: AbortSignal };
}

export interface RestoreOptions extends CreateOptions {
  readonly checkpoint: CheckpointArguments;
}

/** What the state of a container looks like is known of runc alone. */
const PLAIN = "runc";
const GONE = /process already finished|container not running|no such process|does not exist|container not found/i;

/**
 * Drives the command line of runc or crun. Each call is one process of it.
 *
 * @throws not_found - the runtime's program, the container or the process is not there
 * @throws unknown - the runtime failed; the message ends with the last error of its log
 */
export class RuncDriver {
  readonly #options: RuncDriverOptions;

  constructor(options: RuncDriverOptions) {
    this.#options = options;
  }

  /** The name of the runtime: `runc`. */
  get name(): string {
    return basename(this.#command);
  }

  /** Whether the state that it keeps is known, so that some things can be done without it. */
  get isPlain(): boolean {
    return this.name === PLAIN;
  }

  get #command(): string {
    return this.#options.command || "runc";
  }

  /** Where the runtime keeps its state of a container. */
  stateOf(id: string): string {
    return join(this.#options.root, id);
  }

  /** This makes a container whose process waits for {@link start}, and returns the process id. */
  async create(id: string, options: CreateOptions): Promise<number> {
    const { bundle } = options;
    const args = ["create", "--bundle", bundle, ...startingArguments(options), ...rootArguments(options), id];
    await this.#run(args, { doing: "create", log: join(bundle, "log.json"), stdio: options.stdio });
    return readPid(options.pidFile);
  }

  /** This starts what {@link create} made. */
  async start(id: string, options: StartOptions): Promise<void> {
    const { bundle, init } = options;
    const container = { root: this.#options.root, id, initPid: init?.pid ?? 0 };
    if (this.isPlain && init && (await startPlain(container, { signal: init.ended }))) return;
    await this.#run(["start", id], { doing: "start", log: join(bundle, "log.json") });
  }

  /** This starts a further process in a container and returns its id. */
  async exec(id: string, options: RuncExecOptions): Promise<number> {
    const args = ["exec", "--process", options.processFile, "--detach", ...startingArguments(options), id];
    await this.#run(args, { doing: "exec", log: options.logFile, stdio: options.stdio });
    return readPid(options.pidFile);
  }

  async kill(id: string, signal: number, options: { readonly all?: boolean } = {}): Promise<void> {
    await this.#run(["kill", ...(options.all ? ["--all"] : []), id, String(signal)], { doing: "kill" });
  }

  /** This removes a container. One that is not there is fine. `ended`: the id of its process, which has ended. */
  async delete(id: string, options: { readonly force?: boolean; readonly ended?: number } = {}): Promise<void> {
    const { ended: initPid } = options;
    if (this.isPlain && initPid !== undefined && (await deletePlain({ root: this.#options.root, id, initPid }))) return;
    const result = await this.#execute(["delete", ...(options.force ? ["--force"] : []), id]);
    if (result.status === 0) return;
    const reason = reasonOf(result);
    if (!/does not exist/i.test(`${reason} ${result.stderr}`)) throw unknown(`OCI runtime delete failed: ${reason}`);
  }

  async pause(id: string): Promise<void> {
    await this.#run(["pause", id], { doing: "pause" });
  }

  async resume(id: string): Promise<void> {
    await this.#run(["resume", id], { doing: "resume" });
  }

  /** This returns the ids of all processes in a container. */
  async ps(id: string): Promise<readonly number[]> {
    const { stdout } = await this.#run(["ps", "--format", "json", id], { doing: "ps" });
    const pids: unknown = JSON.parse(stdout || "[]");
    if (pids === null) return [];
    if (!Array.isArray(pids)) throw internal(`${this.name} ps printed no list`);
    return pids.filter((pid) => typeof pid === "number");
  }

  /** This changes the resources of a container to those of a file with OCI LinuxResources. */
  async update(id: string, resourcesFile: string): Promise<void> {
    await this.#run(["update", `--resources=${resourcesFile}`, id], { doing: "update" });
  }

  /**
   * This has CRIU write the processes down, and end them unless they are to be left.
   * @throws failed_precondition - CRIU is not installed
   */
  async checkpoint(id: string, options: CheckpointArguments): Promise<void> {
    requireCriu("checkpoint");
    const leave = options.leaveRunning ? ["--leave-running"] : [];
    const criuLog = join(options.workPath, "dump.log");
    await this.#run(["checkpoint", ...checkpointFlags(options), ...leave, id], { doing: "checkpoint", criuLog });
  }

  /**
   * This makes and starts a container from a checkpoint and returns the id of its process.
   * @throws failed_precondition - CRIU is not installed
   */
  async restore(id: string, options: RestoreOptions): Promise<number> {
    requireCriu("restore");
    const { bundle } = options;
    const fixed = ["restore", ...checkpointFlags(options.checkpoint), "--detach", "--no-subreaper", "--bundle", bundle];
    const args = [...fixed, ...startingArguments(options), ...rootArguments(options), id];
    const criuLog = join(options.checkpoint.workPath, "restore.log");
    // a log of its own: it may take long, and what others are refused meanwhile is not its reason
    const log = join(bundle, "restore.log.json");
    await this.#run(args, { doing: "restore", log, criuLog, stdio: options.stdio });
    return readPid(options.pidFile);
  }

  /** This returns what the runtime says it can do (OCI features JSON), `undefined` when it is too old to say. */
  async features(): Promise<string | undefined> {
    const { status, stdout } = await runCommand({
      path: this.#command,
      args: ["features"],
      reaper: this.#options.reaper,
    });
    return status === 0 ? stdout : undefined;
  }

  /** What `--version` prints. */
  async version(): Promise<string> {
    const { stdout } = await runCommand({ path: this.#command, args: ["--version"], reaper: this.#options.reaper });
    return stdout;
  }

  async #run(args: readonly string[], how: RunOptions): Promise<CommandResult> {
    const began = Date.now();
    const result = await this.#execute(args, how);
    if (result.status === 0) return result;
    const reason = reasonOf(result);
    const details = how.criuLog === undefined ? [] : criuErrors(how.criuLog, began, reason);
    const message = [`OCI runtime ${how.doing} failed: ${reason.replaceAll(/\n+/g, "; ")}`, ...details].join("; ");
    throw GONE.test(reason) && how.doing !== "create" && how.doing !== "exec" ? notFound(message) : unknown(message);
  }

  async #execute(args: readonly string[], how: Omit<RunOptions, "doing"> = {}): Promise<RuntimeResult> {
    const { root, reaper, bundle, systemdCgroup } = this.#options;
    // What is to be cleaned up may have lost it.
    const cwd = bundle !== undefined && existsSync(bundle) ? bundle : undefined;
    const file = how.log ?? (cwd === undefined ? undefined : join(cwd, "log.json"));
    const offset = file === undefined ? 0 : logSize(file);
    const log = file === undefined ? [] : ["--log", file, "--log-format", "json"];
    const before = ["--root", root, ...log, ...(systemdCgroup ? ["--systemd-cgroup"] : [])];
    const options = { path: this.#command, args: [...before, ...args], reaper, cwd, stdio: how.stdio };
    const result = await runCommand(options);
    if (result.status === 0 || file === undefined) return result;
    const logged = lastLogError(file, offset);
    // Other commands write into the log of the bundle too: it counts where the runtime prints nothing else beside it.
    const isTold = how.log !== undefined || result.stderr === "" || result.stderr.includes(logged ?? "");
    return isTold ? { ...result, logged } : result;
  }
}

interface RuntimeResult extends CommandResult {
  /** The last error in the log. */
  readonly logged?: string | undefined;
}

interface RunOptions {
  readonly doing: string;
  readonly log?: string;
  /** Where CRIU writes what it does. */
  readonly criuLog?: string;
  readonly stdio?: readonly ChildDescriptor[];
}

function reasonOf({ logged, stderr, status }: RuntimeResult): string {
  if (logged !== undefined) return logged;
  const line = stderr.trimEnd().split("\n").at(-1) ?? "";
  // the runtime's own text log; its quoting is Go's, of which only quotes and ends of lines matter to a reader
  const [, quoted] = /msg="((?:[^"\\]|\\.)*)"/.exec(line) ?? [];
  return (
    quoted?.replaceAll(/\\(["\\n])/g, (_, what: string) => (what === "n" ? "\n" : what)) ??
    (line || `exit status ${status}`)
  );
}

function startingArguments({ pidFile, consoleSocket }: StartingOptions): string[] {
  return ["--pid-file", pidFile, ...(consoleSocket === undefined ? [] : ["--console-socket", consoleSocket])];
}

function rootArguments({ noPivotRoot, noNewKeyring }: CreateOptions): string[] {
  return [...(noPivotRoot ? ["--no-pivot"] : []), ...(noNewKeyring ? ["--no-new-keyring"] : [])];
}

function readPid(file: string): number {
  const text = readFileSync(file, "utf8").trim();
  if (!/^[1-9]\d*$/.test(text)) throw internal(`pid file ${file}: ${JSON.stringify(text)} is no process id`);
  return Number(text);
}
