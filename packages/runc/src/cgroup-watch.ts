import { messageOf } from "@berth/errors";
import { type Cgroup, cgroupOf } from "@berth/linux/cgroups";

import { OomWatch } from "./oom-watch.ts";
import type { RuncTasksContext } from "./tasks-context.ts";

/**
 * The cgroup of a container's init. To find and watch it takes a dozen files, which nobody who waits for a creation needs: it is done
 * when somebody asks, and at the latest before the process runs.
 */
export class CgroupWatch implements Disposable {
  readonly #id: string;
  readonly #context: RuncTasksContext;
  #cgroup: Cgroup | undefined;
  #oom: OomWatch | undefined;
  #isLookedAt = false;

  constructor(id: string, context: RuncTasksContext) {
    this.#id = id;
    this.#context = context;
  }

  /** The cgroup; `undefined` where it was not to be found out. */
  find(pid: number): Cgroup | undefined {
    if (pid !== 0) this.#look(pid);
    return this.#cgroup;
  }

  /** Init has ended: its id may be another's soon. */
  checkAtExit(): void {
    this.#isLookedAt = true;
    this.#oom?.checkAtExit();
  }

  [Symbol.dispose](): void {
    this.#isLookedAt = true;
    this.#oom?.[Symbol.dispose]();
  }

  #look(pid: number): void {
    if (this.#isLookedAt) return;
    this.#isLookedAt = true;
    try {
      this.#cgroup = cgroupOf(pid);
      this.#oom = new OomWatch(this.#id, this.#cgroup, this.#context);
    } catch (error) {
      this.#context.log.debug("no OOM events", { id: this.#id, error: messageOf(error) });
    }
  }
}
