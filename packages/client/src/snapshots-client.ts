import type { Client, Transport } from "@connectrpc/connect";
import type { Info } from "@berth/api/containerd/services/snapshots/v1/snapshots";
import { Kind, Snapshots } from "@berth/api/containerd/services/snapshots/v1/snapshots";
import type { CallOptions } from "@berth/core/any";
import type { ListOptions, UpdateOptions } from "@berth/core/content";
import type { Labels } from "@berth/core/labels";
import { fromProtoLabels, noLabels, toProtoLabels } from "@berth/core/labels";
import type { Mount } from "@berth/core/mount";
import { fromProtoMount } from "@berth/core/mount";
import type {
  SnapshotCommitOptions,
  SnapshotInfo,
  SnapshotKind,
  SnapshotOptions,
  Snapshotter,
  SnapshotUsage,
} from "@berth/core/snapshots";
import { fromProtoTimestamp } from "@berth/core/timestamp";
import { dataLoss } from "@berth/errors";
import { createClient } from "@berth/rpc/client";

import { type BackendOptions, callOptions } from "./call-options.ts";
import { fromProtoInt, present, toProtoMask } from "./wire-values.ts";

/** This makes a snapshotter of the one called `snapshotter` at the peer. Disposing it does nothing at the peer. */
export function createSnapshotsClient(
  transport: Transport,
  snapshotter: string,
  options: BackendOptions = {},
): Snapshotter {
  return new RemoteSnapshotter(createClient(Snapshots, transport), snapshotter, options);
}

class RemoteSnapshotter implements Snapshotter {
  readonly #client: Client<typeof Snapshots>;
  readonly #snapshotter: string;
  readonly #namespaceOf: (key: string) => string | undefined;

  constructor(client: Client<typeof Snapshots>, snapshotter: string, options: BackendOptions) {
    this.#client = client;
    this.#snapshotter = snapshotter;
    this.#namespaceOf = options.namespaceOf ?? (() => undefined);
  }

  async stat(key: string, options?: CallOptions): Promise<SnapshotInfo> {
    const { info } = await this.#client.stat({ snapshotter: this.#snapshotter, key }, this.#optionsFor(key, options));
    return fromProtoInfo(present(info, "info"));
  }

  async update(
    change: { readonly name: string; readonly labels: Labels },
    options?: UpdateOptions,
  ): Promise<SnapshotInfo> {
    const { info } = await this.#client.update(
      {
        snapshotter: this.#snapshotter,
        info: { name: change.name, labels: toProtoLabels(change.labels) },
        ...toProtoMask(options?.fieldpaths),
      },
      this.#optionsFor(change.name, options),
    );
    return fromProtoInfo(present(info, "info"));
  }

  async usage(key: string, options?: CallOptions): Promise<SnapshotUsage> {
    const answer = await this.#client.usage({ snapshotter: this.#snapshotter, key }, this.#optionsFor(key, options));
    return { size: fromProtoInt(answer.size), inodes: fromProtoInt(answer.inodes) };
  }

  async mounts(key: string, options?: CallOptions): Promise<readonly Mount[]> {
    const { mounts } = await this.#client.mounts(
      { snapshotter: this.#snapshotter, key },
      this.#optionsFor(key, options),
    );
    return mounts.map(fromProtoMount);
  }

  async prepare(key: string, parent: string, options?: SnapshotOptions): Promise<readonly Mount[]> {
    const { mounts } = await this.#client.prepare(this.#creation(key, parent, options), this.#optionsFor(key, options));
    return mounts.map(fromProtoMount);
  }

  async view(key: string, parent: string, options?: SnapshotOptions): Promise<readonly Mount[]> {
    const { mounts } = await this.#client.view(this.#creation(key, parent, options), this.#optionsFor(key, options));
    return mounts.map(fromProtoMount);
  }

  async commit(name: string, key: string, options?: SnapshotCommitOptions): Promise<void> {
    const { labels = noLabels, parent = "" } = options ?? {};
    await this.#client.commit(
      { snapshotter: this.#snapshotter, name, key, parent, labels: toProtoLabels(labels) },
      this.#optionsFor(key, options),
    );
  }

  async remove(key: string, options?: CallOptions): Promise<void> {
    await this.#client.remove({ snapshotter: this.#snapshotter, key }, this.#optionsFor(key, options));
  }

  async *list(options?: ListOptions): AsyncIterable<SnapshotInfo> {
    const request = { snapshotter: this.#snapshotter, filters: [...(options?.filters ?? [])] };
    for await (const { info } of this.#client.list(request, callOptions(options))) yield* info.map(fromProtoInfo);
  }

  async cleanup(options?: CallOptions): Promise<void> {
    await this.#client.cleanup({ snapshotter: this.#snapshotter }, callOptions(options));
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  #optionsFor(key: string, options: CallOptions | undefined) {
    return callOptions(options, this.#namespaceOf(key));
  }

  #creation(key: string, parent: string, options: SnapshotOptions | undefined) {
    return { snapshotter: this.#snapshotter, key, parent, labels: toProtoLabels(options?.labels ?? noLabels) };
  }
}

function fromProtoKind(kind: number): SnapshotKind {
  if (kind === Kind.VIEW) return "view";
  if (kind === Kind.ACTIVE) return "active";
  if (kind === Kind.COMMITTED) return "committed";
  throw dataLoss(`unknown kind of snapshot ${kind}`);
}

function fromProtoInfo(info: Info): SnapshotInfo {
  return {
    kind: fromProtoKind(info.kind),
    name: info.name,
    parent: info.parent,
    labels: fromProtoLabels(info.labels),
    createdAt: fromProtoTimestamp(info.createdAt),
    updatedAt: fromProtoTimestamp(info.updatedAt),
  };
}
