import type { CollectibleItem, ResourceCollection, ResourceCollector } from "@berth/core/collector";
import type { Logger } from "@berth/core/log";

import type { Activations } from "./activations.ts";
import type { Activation } from "./store/activation.ts";

/**
 * This offers activations to the garbage collector: each lives as long as its lease, or what its labels name. After a collection
 * mounts are taken away as well that earlier ones could not, because they were in use.
 *
 * @see containerd core/mount/manager/manager.go, collectionContext
 */
export function createMountCollector(manager: Activations, log: Logger): ResourceCollector {
  return {
    kind: "mount",
    async begin(): Promise<ResourceCollection> {
      const activations = new Map(manager.store.all().map((each) => [toItem(each, manager), each]));
      const noted = new Set<Activation>();
      return {
        items: activations.keys(),
        remove: (item) => {
          const activation = activations.get(item);
          if (activation !== undefined) noted.add(activation);
        },
        finish: async () => {
          for (const activation of noted) await remove(manager, activation, log);
          await manager.removeStale();
        },
        cancel: async () => {},
      };
    },
  };
}

function toItem(activation: Activation, manager: Activations): CollectibleItem {
  const { namespace, name, lease, labels } = activation;
  const isHeld = manager.isHeld(activation);
  return { namespace, key: name, lease: isHeld || lease === "" ? undefined : lease, active: isHeld, labels };
}

async function remove(manager: Activations, activation: Activation, log: Logger): Promise<void> {
  const { namespace, name } = activation;
  try {
    await manager.deactivateIfSame(activation);
    log.debug("mount collected", { namespace, name });
  } catch (error) {
    log.warn("failed to collect mount", { namespace, name, error });
  }
}
