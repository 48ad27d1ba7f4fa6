import { writeFile } from "node:fs/promises";

import type { Client, RemoteTask } from "@berth/client";
import type { AttachedIo, RunningProcess } from "@berth/client/run";
import { startTask } from "@berth/client/run";
import type { AnyValue } from "@berth/core/any";
import type { Container } from "@berth/core/containers";
import { wrapError } from "@berth/errors";

import { forwardSignals } from "./forward-signals.ts";
import { StandardStreams } from "./standard-streams.ts";
import { enterRawMode, followWindowSize } from "./terminal.ts";

/** How a task is started and watched. */
export interface TaskRunOptions {
  readonly io: AttachedIo;
  readonly terminal: boolean;
  readonly pidFile: string;
  readonly taskOptions: AnyValue | undefined;
  readonly signal: AbortSignal;
}

/** This makes and starts a container's task. After a failure the task is gone and the streams are closed. */
export function startFromFlags(client: Client, container: Container, options: TaskRunOptions): Promise<RunningProcess> {
  const { io, signal, taskOptions } = options;
  return startTask(client, container, {
    io,
    signal,
    beforeStart: (task) => prepare(task, options),
    ...(taskOptions === undefined ? {} : { taskOptions }),
  });
}

async function prepare(task: RemoteTask, { io, pidFile, signal }: TaskRunOptions): Promise<void> {
  if (pidFile !== "") {
    try {
      await writeFile(pidFile, String(task.pid));
    } catch (error) {
      throw wrapError(error, `write pid file ${pidFile}`);
    }
  }
  if (io instanceof StandardStreams) io.begin(() => task.closeIo({ signal }));
}

/** This passes signals and window sizes on to a process until it and its output have ended, and returns its exit code. */
export async function watchProcess(running: RunningProcess, terminal: boolean, signal: AbortSignal): Promise<number> {
  using _signals = forwardSignals(running.task, running.execId);
  using _size = terminal ? await followWindowSize(running.task, running.execId) : undefined;
  return await running.finish({ signal });
}

/** This puts the terminal into raw mode if a process is to have it. */
export async function rawModeFor(terminal: boolean): Promise<Disposable | undefined> {
  return terminal ? await enterRawMode() : undefined;
}
