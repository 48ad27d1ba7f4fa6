import type { Container } from "@berth/core/containers";

import type { PruneFilter } from "./image-use.ts";
import type { Inventory } from "./inventory.ts";

/** Another program decides on these: Kubernetes on what it made, the restart monitor on what shall run. */
const MANAGED_LABEL = "io.cri-containerd.kind";
const RESTART_LABEL = "containerd.io/restart.status";
/** Without a task, one younger than this may be about to get it. */
const YOUNG_MS = 60_000;

/**
 * This returns the containers that a prune removes: those whose task has ended, and those that have had none for a minute; but none that
 * another program looks after.
 */
export function idleContainers(inventory: Inventory, filter: PruneFilter, now: number): readonly Container[] {
  return inventory.containers.filter((container) => {
    const status = inventory.tasks.get(container.id);
    const isIdle = status === undefined ? container.updatedAt < now - YOUNG_MS : status === "stopped";
    return isIdle && !isManaged(container) && filter.matches(container);
  });
}

function isManaged({ labels, sandboxId }: Container): boolean {
  return labels.has(MANAGED_LABEL) || labels.get(RESTART_LABEL) === "running" || sandboxId !== "";
}
