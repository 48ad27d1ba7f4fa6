import { TaskOOMSchema } from "@berth/api/containerd/events/task";
import { notFound } from "@berth/errors";
import { type Cgroup, cgroupOf, oomKillCount } from "@berth/linux/cgroups";
import { watchOom } from "@berth/linux/memory-events";

import type { RuncTasksContext } from "./tasks-context.ts";

/** Tells the daemon when a container runs out of memory: as it happens, and at its end if that came first. */
export class OomWatch implements Disposable {
  readonly #id: string;
  readonly #cgroup: Cgroup;
  readonly #context: RuncTasksContext;
  readonly #before: number;
  #watcher: Disposable | undefined;
  #told = false;

  /** @throws not_found - there is nothing to watch: no memory controller, or the cgroup is not the container's own */
  constructor(id: string, cgroup: Cgroup, context: RuncTasksContext) {
    if (directoryOf(cgroup) === directoryOf(cgroupOf("self"))) throw notFound(`cgroup of container ${id}`);
    this.#id = id;
    this.#cgroup = cgroup;
    this.#context = context;
    this.#before = oomKillCount(cgroup);
    this.#watcher = watchOom(cgroup, () => this.#tell());
  }

  /** The container's init has ended: the notification of a kill may still be on its way. */
  checkAtExit(): void {
    if (!this.#told && killed(this.#cgroup) > this.#before) this.#tell();
    this[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    this.#watcher?.[Symbol.dispose]();
    this.#watcher = undefined;
  }

  #tell(): void {
    this.#told = true;
    this.#context.publish("/tasks/oom", TaskOOMSchema, { containerId: this.#id });
  }
}

function directoryOf(cgroup: Cgroup): string | undefined {
  return cgroup.directories.get(cgroup.version === 2 ? "" : "memory");
}

function killed(cgroup: Cgroup): number {
  try {
    return oomKillCount(cgroup);
  } catch {
    // the cgroup is gone
    return 0;
  }
}
