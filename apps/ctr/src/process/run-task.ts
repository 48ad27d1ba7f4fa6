import { writeFile } from "node:fs/promises";

import type { Client, RemoteTask } from "@berth/client";
import type { AttachedIo, RunningProcess } from "@berth/client/run";
import { startTask } from "@berth/client/run";
import type { AnyValue } from "@berth/core/any";
import type { Container } from "@berth/core/containers";
import { wrapError } from "@berth/errors";
import type { Descriptor } from "@berth/oci";

import type { ContainerNetwork } from "./container-network.ts";
import type { ProcessSignals } from "./process-signals.ts";
import { StandardStreams } from "./standard-streams.ts";
import { copyWindowSize, enterRawMode, followWindowSize } from "./terminal.ts";

/** How a task is started and watched. */
export interface TaskRunOptions {
  readonly io: AttachedIo;
  readonly terminal: boolean;
  readonly pidFile: string;
  readonly taskOptions: AnyValue | undefined;
  /** What the process goes on from, instead of beginning. */
  readonly checkpoint?: Descriptor | undefined;
  readonly signal: AbortSignal;
  /** What the task is attached to before it starts. */
  readonly network?: ContainerNetwork | undefined;
  /** The container may have had a task before, of which something of its network is left. */
  readonly isAgain?: boolean;
  /** Passed on to the task once it is there; absent for one that is left alone. */
  readonly signals?: ProcessSignals;
}

/** This makes and starts a container's task. After a failure the task is gone and the streams are closed. */
export function startFromFlags(client: Client, container: Container, options: TaskRunOptions): Promise<RunningProcess> {
  const { io, signal, taskOptions, checkpoint } = options;
  return startTask(client, container, {
    io,
    signal,
    beforeStart: (task) => prepare(task, options),
    ...(taskOptions === undefined ? {} : { taskOptions }),
    ...(checkpoint === undefined ? {} : { checkpoint }),
  });
}

async function prepare(task: RemoteTask, options: TaskRunOptions): Promise<void> {
  const { io, terminal, pidFile, signal, signals, network } = options;
  if (pidFile !== "") {
    try {
      await writeFile(pidFile, String(task.pid));
    } catch (error) {
      throw wrapError(error, `write pid file ${pidFile}`);
    }
  }
  if (options.isAgain === true) await network?.forget({ signal });
  await network?.attach(task.pid, { signal });
  // Before the start, so that the first thing that the process draws has the right size.
  if (terminal) await copyWindowSize(task);
  signals?.forwardTo(task);
  if (io instanceof StandardStreams) io.begin(() => task.closeIo({ signal }));
}

/** This follows a process that has started until it and its output have ended, and returns its exit code. */
export async function watchProcess(
  running: RunningProcess,
  { terminal, signal, signals }: Pick<TaskRunOptions, "terminal" | "signal" | "signals">,
): Promise<number> {
  signals?.started();
  using _size = terminal ? await followWindowSize(running.task, running.execId) : undefined;
  return await running.finish({ signal });
}

/** Both. A task that cannot be removed, as the daemon is gone, runs on and keeps its network, until it is deleted. */
export async function startAndWatch(client: Client, container: Container, options: TaskRunOptions): Promise<number> {
  const running = await startFromFlags(client, container, options);
  await using _running = {
    async [Symbol.asyncDispose](): Promise<void> {
      try {
        await running[Symbol.asyncDispose]();
      } catch (error) {
        await options.network?.keep();
        throw error;
      }
    },
  };
  return await watchProcess(running, options);
}

/** This puts the terminal into raw mode if a process is to have it. */
export async function rawModeFor(terminal: boolean): Promise<Disposable | undefined> {
  return terminal ? await enterRawMode() : undefined;
}
