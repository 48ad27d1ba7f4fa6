import type { Client, Transport } from "@connectrpc/connect";
import { Diff } from "@berth/api/containerd/services/diff/v1/diff";
import type { Applier, ApplyOptions, CompareOptions, Comparer } from "@berth/core/diff";
import { noLabels, toProtoLabels } from "@berth/core/labels";
import { toProtoMount } from "@berth/core/mount";
import type { Mount } from "@berth/core/mount";
import { toProtoTimestamp } from "@berth/core/timestamp";
import { toProtoDescriptor } from "@berth/core/proto-descriptor";
import type { Descriptor } from "@berth/oci";
import { createClient } from "@berth/rpc/client";

import { callOptions } from "./call-options.ts";
import { fromProtoDescriptor, toProtoAny } from "./wire-values.ts";

/** This makes an applier and comparer of what answers over `transport`. */
export function createDiffClient(transport: Transport): Applier & Comparer {
  return new RemoteDiff(createClient(Diff, transport));
}

class RemoteDiff implements Applier, Comparer {
  readonly #client: Client<typeof Diff>;

  constructor(client: Client<typeof Diff>) {
    this.#client = client;
  }

  async apply(descriptor: Descriptor, mounts: readonly Mount[], options?: ApplyOptions): Promise<Descriptor> {
    const payloads: Record<string, ReturnType<typeof toProtoAny>> = Object.create(null);
    for (const [mediaType, value] of options?.payloads ?? []) payloads[mediaType] = toProtoAny(value);
    const { applied } = await this.#client.apply(
      {
        diff: toProtoDescriptor(descriptor),
        mounts: mounts.map(toProtoMount),
        payloads,
        syncFs: options?.syncFs ?? false,
      },
      callOptions(options),
    );
    return fromProtoDescriptor(applied);
  }

  async compare(lower: readonly Mount[], upper: readonly Mount[], options?: CompareOptions): Promise<Descriptor> {
    const epoch = options?.sourceDateEpoch;
    const { diff } = await this.#client.diff(
      {
        left: lower.map(toProtoMount),
        right: upper.map(toProtoMount),
        mediaType: options?.mediaType ?? "",
        ref: options?.ref ?? "",
        labels: toProtoLabels(options?.labels ?? noLabels),
        ...(epoch === undefined ? {} : { sourceDateEpoch: toProtoTimestamp(epoch) }),
      },
      callOptions(options),
    );
    return fromProtoDescriptor(diff);
  }
}
