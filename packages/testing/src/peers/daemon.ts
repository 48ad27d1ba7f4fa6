import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { openSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { deadlineExceeded, failedPrecondition } from "@berth/errors";

import type { ProgramOptions, ProgramResult } from "../run-program.ts";
import { runProgram } from "../run-program.ts";
import { temporaryDirectory } from "../temporary-directory.ts";
import { debianPath, debianTool, launcher, newerPath, newerTool } from "./debian-tools.ts";

const READY_DEADLINE_MS = 30_000;
const STOP_DEADLINE_MS = 20_000;

/** A daemon on a private root. Disposing it stops it and removes its directories. */
export interface PeerDaemon extends AsyncDisposable {
  /** Socket of its gRPC server. */
  readonly address: string;
  readonly root: string;
  readonly state: string;
  readonly pid: number;
  /** Resolves when the process that runs now has ended, for whatever reason. */
  readonly ended: Promise<void>;
  /** This runs Debian's Go `ctr` of {@link DaemonOptions.release} on this daemon. */
  ctr(args: readonly string[], options?: ProgramOptions): Promise<ProgramResult>;
  /** This returns what the daemon has logged. */
  log(): Promise<string>;
  /** This stops the daemon (SIGTERM, or `signal`) and starts it again on the same directories. */
  restart(options?: RestartOptions): Promise<void>;
}

/** A containerd that tests can have: Debian 12's and Debian 14's. */
export type ContainerdRelease = "1.6" | "2";

/** Options of {@link PeerDaemon.restart}. */
export interface RestartOptions {
  /** What stops it; SIGTERM by default. */
  readonly signal?: NodeJS.Signals;
  readonly whileDown?: () => Promise<void>;
  /** Called with the id of the new process, which begins when this resolves. */
  readonly beforeStart?: (pid: number) => Promise<void>;
}

/** How to start a daemon. */
export interface DaemonOptions {
  /**
   * Debian's containerd 1.6 (the default) or 2.x: of this release are Go's `ctr`, the shim and runc on the daemon's PATH, and the
   * daemon, unless it is berth's.
   */
  readonly release?: ContainerdRelease;
  /** TOML appended to the configuration that makes it private. */
  readonly config?: string;
  /** URIs of plugins that the daemon does without. */
  readonly disabledPlugins?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Directory for root, state and log; a temporary one when absent. It is removed with the daemon only when temporary. */
  readonly directory?: string;
  /** The daemon's root, where it is not to be in `directory`; it is not removed. */
  readonly root?: string;
  /** Puts these directories first on the daemon's PATH. */
  readonly path?: readonly string[];
}

/** This starts berth's daemon from the checkout. */
export function startBerthd(options: DaemonOptions = {}): Promise<PeerDaemon> {
  // Shims wait for the next container before they end; no test needs them to wait for long.
  const env = { BERTH_SHIM_LINGER_MS: "1000", ...options.env };
  return start("berthd", launcher("berthd"), "berth.sock", { disabledPlugins: [], ...options, env });
}

/** This starts Debian's containerd. */
export function startContainerd(options: DaemonOptions = {}): Promise<PeerDaemon> {
  const { release = "1.6" } = options;
  const disabledPlugins = [...NOT_FOR_TESTS[release], ...(options.disabledPlugins ?? [])];
  return start("containerd", toolOf(release, "containerd"), "containerd.sock", { ...options, disabledPlugins });
}

/** What needs a network, or writes outside of the daemon's directories. */
const NOT_FOR_TESTS: Readonly<Record<ContainerdRelease, readonly string[]>> = {
  "1.6": ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"],
  "2": [
    "io.containerd.grpc.v1.cri",
    "io.containerd.cri.v1.images",
    "io.containerd.cri.v1.runtime",
    "io.containerd.internal.v1.opt",
    "io.containerd.nri.v1.nri",
  ],
};

function toolOf(release: ContainerdRelease, tool: "containerd" | "ctr"): string {
  return release === "2" ? newerTool(tool) : debianTool(tool);
}

async function start(
  name: string,
  program: string,
  socket: string,
  options: DaemonOptions & { readonly disabledPlugins: readonly string[] },
): Promise<PeerDaemon> {
  await using stack = new AsyncDisposableStack();
  const directory = options.directory ?? stack.use(await temporaryDirectory(name)).path;
  const root = options.root ?? join(directory, "root");
  const state = join(directory, "state");
  const address = join(state, socket);
  const logFile = join(directory, "log");
  await mkdir(directory, { recursive: true });
  const { disabledPlugins, config = "" } = options;
  // An array of strings in JSON is one in TOML.
  const disabled = disabledPlugins.length === 0 ? "" : `disabled_plugins = ${JSON.stringify(disabledPlugins)}\n`;
  const extra = `${disabled}${config}`;
  await writeFile(join(directory, "config.toml"), configuration({ root, state, address, extra }));
  const { release = "1.6" } = options;
  const programs = release === "2" ? newerPath() : debianPath();
  const env = { ...process.env, ...options.env, PATH: [...(options.path ?? []), programs].join(":") };
  const launch = async (beforeStart?: RestartOptions["beforeStart"]): Promise<ChildProcess> => {
    const output = openSync(logFile, "a");
    const command = [program, "--config", join(directory, "config.toml")];
    const [first = program, ...rest] = beforeStart === undefined ? command : [...STOPPED, ...command];
    const child = spawn(first, rest, { env, stdio: ["ignore", output, output] });
    if (beforeStart !== undefined) await prepareStopped(child, beforeStart);
    await untilReady(child, address, logFile);
    return child;
  };
  const ctr: PeerDaemon["ctr"] = (args, runOptions = {}) =>
    runProgram(toolOf(release, "ctr"), ["--address", address, ...args], {
      ...runOptions,
      env: { ...env, ...runOptions.env },
    });
  let child = await launch();
  stack.defer(() => stopChild(child, "SIGTERM"));
  stack.defer(() => removeTasks(ctr));
  const owned = stack.move();
  return {
    address,
    root,
    state,
    get pid() {
      return child.pid ?? 0;
    },
    get ended() {
      return ended(child);
    },
    ctr,
    log: () => readFile(logFile, "utf8"),
    async restart({ signal = "SIGTERM", whileDown, beforeStart } = {}) {
      await stopChild(child, signal);
      await whileDown?.();
      child = await launch(beforeStart);
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** What becomes the program that follows once it is continued. */
const STOPPED = ["/bin/sh", "-c", 'kill -STOP $$; exec "$@"', "sh"];

async function prepareStopped(child: ChildProcess, prepare: (pid: number) => Promise<void>): Promise<void> {
  const pid = child.pid ?? 0;
  try {
    const deadline = Date.now() + READY_DEADLINE_MS;
    while (!/\) T /.test(await readFile(`/proc/${pid}/stat`, "utf8"))) {
      if (Date.now() > deadline) throw deadlineExceeded(`process ${pid} does not stop`);
      await sleep(5);
    }
    await prepare(pid);
    child.kill("SIGCONT");
  } catch (error) {
    child.kill("SIGKILL");
    throw error;
  }
}

/** Containers outlive their daemon, and their mounts keep its directories from being removed. */
async function removeTasks(ctr: PeerDaemon["ctr"]): Promise<void> {
  const namespaces = await ctr(["namespaces", "ls", "-q"], { timeoutMs: 5000 });
  for (const namespace of namespaces.stdout.split("\n").filter(Boolean)) {
    const tasks = await ctr(["-n", namespace, "task", "ls", "-q"], { timeoutMs: 5000 });
    const ids = tasks.stdout.split("\n").filter(Boolean);
    for (const id of ids) await ctr(["-n", namespace, "task", "rm", "-f", id], { timeoutMs: 10_000 });
  }
}

function configuration({
  root,
  state,
  address,
  extra,
}: Readonly<Record<"root" | "state" | "address" | "extra", string>>): string {
  return `version = 2
root = ${JSON.stringify(root)}
state = ${JSON.stringify(state)}
${extra}
[grpc]
  address = ${JSON.stringify(address)}
`;
}

async function untilReady(child: ChildProcess, address: string, logFile: string): Promise<void> {
  const deadline = Date.now() + READY_DEADLINE_MS;
  while (!(await answers(address))) {
    if (child.exitCode !== null || child.signalCode !== null) {
      throw failedPrecondition(`daemon ended with ${child.exitCode ?? child.signalCode}:\n${await tail(logFile)}`);
    }
    if (Date.now() > deadline) {
      child.kill("SIGKILL");
      throw deadlineExceeded(
        `daemon did not answer on ${address} within ${READY_DEADLINE_MS} ms:\n${await tail(logFile)}`,
      );
    }
    await sleep(20);
  }
}

async function tail(logFile: string): Promise<string> {
  return (await readFile(logFile, "utf8")).slice(-4000);
}

function answers(address: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const socket = connect(address);
  socket.once("connect", () => resolve(true));
  socket.once("error", () => resolve(false));
  return promise.finally(() => socket.destroy());
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
}

async function stopChild(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, "exit");
  child.kill(signal);
  const timer = setTimeout(() => child.kill("SIGKILL"), STOP_DEADLINE_MS);
  await ended;
  clearTimeout(timer);
}
