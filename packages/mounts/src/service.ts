import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import type { Mounts } from "@berth/api/containerd/services/mounts/v1/mounts";
import type { ActivationInfoSchema } from "@berth/api/containerd/types/mount";
import { fromProtoLabels, toProtoLabels } from "@berth/core/labels";
import type { ActivationInfo, MountManager } from "@berth/core/mount";
import { fromProtoMount, toProtoMount } from "@berth/core/mount";
import { unimplemented } from "@berth/errors";

export { Mounts } from "@berth/api/containerd/services/mounts/v1/mounts";

/** Options of {@link createMountsService}. */
export interface MountsServiceOptions {
  /** This gives the manager of a call: of its namespace, with its lease. */
  readonly managerFor: (context: HandlerContext) => MountManager;
}

/**
 * This serves a mount manager as `containerd.services.mounts.v1.Mounts`.
 *
 * @see containerd plugins/services/mounts
 */
export function createMountsService({ managerFor }: MountsServiceOptions): ServiceImpl<typeof Mounts> {
  return {
    async activate({ name, mounts, labels, temporary }, context) {
      const options = { labels: fromProtoLabels(labels), temporary, signal: context.signal };
      return { info: toProtoInfo(await managerFor(context).activate(name, mounts.map(fromProtoMount), options)) };
    },
    async deactivate({ name }, context) {
      await managerFor(context).deactivate(name, { signal: context.signal });
      return {};
    },
    async info({ name }, context) {
      return { info: toProtoInfo(await managerFor(context).info(name, { signal: context.signal })) };
    },
    async update() {
      throw unimplemented("activations cannot be updated");
    },
    async *list({ filters }, context) {
      const infos = managerFor(context).list({ filters, signal: context.signal });
      for await (const info of infos) yield { info: toProtoInfo(info) };
    },
  };
}

function toProtoInfo({ name, active, system, labels }: ActivationInfo): MessageInitShape<typeof ActivationInfoSchema> {
  return {
    name,
    active: active.map((mount) => ({
      mount: toProtoMount(mount),
      mountedAt: timestampFromMs(mount.mountedAt),
      mountPoint: mount.mountPoint,
      data: toProtoLabels(mount.data),
    })),
    system: system.map(toProtoMount),
    labels: toProtoLabels(labels),
  };
}
