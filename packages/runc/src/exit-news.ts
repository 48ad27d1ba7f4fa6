import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { TaskExitSchema } from "@berth/api/containerd/events/task";
import { messageOf } from "@berth/errors";
import type { ExitStatus } from "@berth/linux/process";

import type { ShimProcess } from "./shim-process.ts";
import type { RuncTasksContext } from "./tasks-context.ts";

/** Notices that processes of one container end, keeps it, and tells it, in this order. */
export class ExitNews {
  readonly #container: { readonly id: string; readonly bundle: string };
  readonly #context: RuncTasksContext;

  constructor(container: { readonly id: string; readonly bundle: string }, context: RuncTasksContext) {
    this.#container = container;
    this.#context = context;
  }

  /** This calls `onExit` when a process ends that is, or has been, a child of this one. */
  watch(process: ShimProcess, onExit: (status: ExitStatus) => Promise<void>): void {
    const { log, reaper } = this.#context;
    const fields = { id: this.#container.id, execId: process.execId };
    reaper
      .wait(process.pid)
      .then((status) => {
        process.reaped = true;
        return onExit(status);
      })
      .catch((error: unknown) => log.error("exit not handled", { ...fields, error: messageOf(error) }));
  }

  /** This keeps the end of a process in the bundle. */
  record({ execId, pid }: ShimProcess, { status, exitedAt }: ExitStatus): void {
    const { id, bundle } = this.#container;
    try {
      this.#context.recordExit(bundle, { id, execId, pid, exitStatus: status, exitedAt });
    } catch (error) {
      // the event still tells it, if the daemon is there
      this.#context.log.error("exit not recorded", { id, execId, error: messageOf(error) });
    }
  }

  /** This takes back what {@link record} kept: the process is deleted, and its status went out with the answer. */
  forget(execId: string): void {
    try {
      this.#context.forgetExit(this.#container.bundle, execId);
    } catch (error) {
      this.#context.log.warn("exit record not removed", { id: this.#container.id, execId, error: messageOf(error) });
    }
  }

  /** This tells the daemon and whoever waits, after the news of the start. */
  async tell(process: ShimProcess, status: ExitStatus): Promise<void> {
    await process.started;
    const exit = process.setExit(status);
    process.stdio.endOfProcess();
    this.#context.publish("/tasks/exit", TaskExitSchema, {
      containerId: this.#container.id,
      id: process.execId || this.#container.id,
      pid: process.pid,
      exitStatus: exit.status,
      exitedAt: timestampFromDate(exit.at),
    });
    process.announceExit();
  }
}
