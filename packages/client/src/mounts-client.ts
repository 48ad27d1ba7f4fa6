import type { Client, Transport } from "@connectrpc/connect";
import { Mounts } from "@berth/api/containerd/services/mounts/v1/mounts";
import type { ActivationInfo as WireInfo, ActiveMount as WireActiveMount } from "@berth/api/containerd/types/mount";
import type { CallOptions } from "@berth/core/any";
import type { ListOptions, UpdateOptions } from "@berth/core/content";
import { fromProtoLabels, noLabels, toProtoLabels } from "@berth/core/labels";
import type { ActivateOptions, ActivationInfo, ActiveMount, Mount, MountManager } from "@berth/core/mount";
import { fromProtoMount, toProtoMount } from "@berth/core/mount";
import { fromProtoTimestamp, toProtoTimestamp } from "@berth/core/timestamp";
import { invalidArgument } from "@berth/errors";
import { createClient } from "@berth/rpc/client";

import { callOptions } from "./call-options.ts";
import { present, toProtoMask } from "./wire-values.ts";

/**
 * This makes a mount manager of the one that answers over `transport`. Its mounts are made where the peer is. Types that the caller
 * makes itself cannot be named over the wire, nor can it hold an activation: `allowMountTypes` and `held` are invalid_argument.
 */
export function createMountsClient(transport: Transport): MountManager {
  return new RemoteMountManager(createClient(Mounts, transport));
}

class RemoteMountManager implements MountManager {
  readonly #client: Client<typeof Mounts>;

  constructor(client: Client<typeof Mounts>) {
    this.#client = client;
  }

  async activate(name: string, mounts: readonly Mount[], options: ActivateOptions = {}): Promise<ActivationInfo> {
    const { labels = noLabels, temporary = false, allowMountTypes = [] } = options;
    if (allowMountTypes.length > 0 || options.held === true) {
      throw invalidArgument("mount types cannot be allowed, nor activations held, over the wire");
    }
    const request = { name, mounts: mounts.map(toProtoMount), labels: toProtoLabels(labels), temporary };
    const { info } = await this.#client.activate(request, callOptions(options));
    return fromProtoInfo(present(info, "info"));
  }

  async deactivate(name: string, options?: CallOptions): Promise<void> {
    await this.#client.deactivate({ name }, callOptions(options));
  }

  async info(name: string, options?: CallOptions): Promise<ActivationInfo> {
    const { info } = await this.#client.info({ name }, callOptions(options));
    return fromProtoInfo(present(info, "info"));
  }

  async update(info: ActivationInfo, options?: UpdateOptions): Promise<ActivationInfo> {
    const { name, active, system, labels } = info;
    const request = {
      info: {
        name,
        active: active.map(toProtoActiveMount),
        system: system.map(toProtoMount),
        labels: toProtoLabels(labels),
      },
      ...toProtoMask(options?.fieldpaths),
    };
    const answer = await this.#client.update(request, callOptions(options));
    return fromProtoInfo(present(answer.info, "info"));
  }

  async *list(options?: ListOptions): AsyncIterable<ActivationInfo> {
    const request = { filters: [...(options?.filters ?? [])] };
    for await (const { info } of this.#client.list(request, callOptions(options))) {
      yield fromProtoInfo(present(info, "info"));
    }
  }
}

function fromProtoInfo({ name, active, system, labels }: WireInfo): ActivationInfo {
  return {
    name,
    active: active.map(fromProtoActiveMount),
    system: system.map(fromProtoMount),
    labels: fromProtoLabels(labels),
  };
}

function fromProtoActiveMount({ mount, mountPoint, mountedAt, data }: WireActiveMount): ActiveMount {
  // containerd tells no more of an activation that is asked for later than what its mounts are, and where.
  const made = mount === undefined ? { type: "", source: "", target: "", options: [] } : fromProtoMount(mount);
  return { ...made, mountPoint, mountedAt: fromProtoTimestamp(mountedAt), data: fromProtoLabels(data) };
}

function toProtoActiveMount(mount: ActiveMount) {
  return {
    mount: toProtoMount(mount),
    mountPoint: mount.mountPoint,
    mountedAt: toProtoTimestamp(mount.mountedAt),
    data: toProtoLabels(mount.data),
  };
}
