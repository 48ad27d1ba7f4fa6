import type { ContainerUpdate } from "@berth/api/nri/pkg/api/v1alpha1/adjustment";
import type { Container, PodSandbox } from "@berth/api/nri/pkg/api/v1alpha1/objects";
import type { UpdateContainersRequest } from "@berth/api/nri/pkg/api/v1alpha1/plugin";
import type { Logger } from "@berth/core/log";
import type { NriDomain } from "@berth/core/nri";
import { alreadyExists, messageOf } from "@berth/errors";

/** The domains of the daemon as one. */
export class Domains {
  readonly #domains = new Map<string, NriDomain>();
  readonly #log: Logger;

  constructor(log: Logger) {
    this.#log = log;
  }

  add(domain: NriDomain): Disposable {
    if (this.#domains.has(domain.namespace)) throw alreadyExists(`NRI domain ${domain.namespace}`);
    this.#domains.set(domain.namespace, domain);
    return { [Symbol.dispose]: () => void this.#domains.delete(domain.namespace) };
  }

  async listAll(): Promise<{ readonly pods: readonly PodSandbox[]; readonly containers: readonly Container[] }> {
    const all = [...this.#domains.values()];
    const pods = await Promise.all(all.map((domain) => domain.listPods()));
    const containers = await Promise.all(all.map((domain) => domain.listContainers()));
    return { pods: pods.flat(), containers: containers.flat() };
  }

  /**
   * This does what a plugin asks for and returns the updates that failed and may not. What is about a container that nobody has is
   * passed over: it may just have gone.
   */
  async apply(request: Pick<UpdateContainersRequest, "update" | "evict">): Promise<ContainerUpdate[]> {
    const failed: ContainerUpdate[] = [];
    for (const update of request.update) {
      const done = await this.#try(update.containerId, "update", (domain) => domain.updateContainer(update));
      if (!done && !update.ignoreFailure) failed.push(update);
    }
    for (const eviction of request.evict) {
      await this.#try(eviction.containerId, "eviction", (domain) => domain.evictContainer(eviction));
    }
    return failed;
  }

  async #try(id: string, what: string, act: (domain: NriDomain) => Promise<void>): Promise<boolean> {
    const domain = this.#domains.values().find((candidate) => candidate.hasContainer(id));
    if (domain === undefined) return true;
    const { namespace } = domain;
    try {
      await act(domain);
      return true;
    } catch (error) {
      this.#log.error("what an NRI plugin asked for failed", { what, namespace, id, error: messageOf(error) });
      return false;
    }
  }
}
