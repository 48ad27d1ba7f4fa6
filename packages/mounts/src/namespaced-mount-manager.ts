import type { CallOptions } from "@berth/core/any";
import type { ListOptions } from "@berth/core/content";
import type { ActivateOptions, ActivationInfo, Mount, MountManager } from "@berth/core/mount";
import type { Namespace } from "@berth/core/namespaces";
import { notFound, unimplemented } from "@berth/errors";
import { adapt, parseFilters } from "@berth/filters";

import type { Activations } from "./activations.ts";
import { activationInfo } from "./store/activation.ts";

/** One namespace of a the mount manager; what is activated here is held by its lease. */
export class NamespacedMountManager implements MountManager {
  readonly #manager: Activations;
  readonly #namespace: Namespace;
  readonly #lease: string;

  constructor(manager: Activations, namespace: Namespace, lease: string) {
    this.#manager = manager;
    this.#namespace = namespace;
    this.#lease = lease;
  }

  async activate(name: string, mounts: readonly Mount[], options: ActivateOptions = {}): Promise<ActivationInfo> {
    return await this.#manager.activate({ namespace: this.#namespace, lease: this.#lease, name }, mounts, options);
  }

  async deactivate(name: string, options?: CallOptions): Promise<void> {
    await this.#manager.deactivate({ namespace: this.#namespace, name }, options);
  }

  async info(name: string): Promise<ActivationInfo> {
    const found = this.#manager.store.find(this.#namespace, name);
    if (found === undefined) throw notFound(`mount ${JSON.stringify(name)}`);
    return activationInfo(found);
  }

  async update(): Promise<ActivationInfo> {
    throw unimplemented("activations cannot be updated");
  }

  async *list({ filters = [], signal }: ListOptions = {}): AsyncIterable<ActivationInfo> {
    const filter = parseFilters(filters);
    for (const activation of this.#manager.store.list(this.#namespace)) {
      signal?.throwIfAborted();
      const { name, labels } = activation;
      if (filter.matches(adapt({ name }, { labels }))) yield activationInfo(activation);
    }
  }
}
