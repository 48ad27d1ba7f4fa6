import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import {
  type InfoSchema,
  Kind,
  ListSnapshotsResponseSchema,
  Snapshots,
} from "@berth/api/containerd/services/snapshots/v1/snapshots";
import { fromProtoLabels, toProtoLabels } from "@berth/core/labels";
import { toProtoMount } from "@berth/core/mount";
import type { SnapshotInfo, SnapshotKind, Snapshotter } from "@berth/core/snapshots";
import { invalidArgument, unimplemented } from "@berth/errors";

export { Snapshots } from "@berth/api/containerd/services/snapshots/v1/snapshots";

/** Options of {@link createSnapshotService}. */
export interface SnapshotServiceOptions {
  /**
   * This gives the snapshotter a call is about.
   *
   * @throws invalid_argument - there is none of that name
   */
  readonly snapshotterFor: (context: HandlerContext, name: string) => Snapshotter;
}

const LIST_BLOCK = 100;

const KINDS: Readonly<Record<SnapshotKind, Kind>> = {
  view: Kind.VIEW,
  active: Kind.ACTIVE,
  committed: Kind.COMMITTED,
};

/**
 * This serves snapshotters as `containerd.services.snapshots.v1.Snapshots`.
 *
 * @see containerd plugins/services/snapshots
 */
export function createSnapshotService({ snapshotterFor }: SnapshotServiceOptions): ServiceImpl<typeof Snapshots> {
  return {
    async prepare({ snapshotter, key, parent, labels }, context) {
      const options = { labels: fromProtoLabels(labels), signal: context.signal };
      return { mounts: (await snapshotterFor(context, snapshotter).prepare(key, parent, options)).map(toProtoMount) };
    },
    async view({ snapshotter, key, parent, labels }, context) {
      const options = { labels: fromProtoLabels(labels), signal: context.signal };
      return { mounts: (await snapshotterFor(context, snapshotter).view(key, parent, options)).map(toProtoMount) };
    },
    async mounts({ snapshotter, key }, context) {
      return { mounts: (await snapshotterFor(context, snapshotter).mounts(key, context)).map(toProtoMount) };
    },
    async commit({ snapshotter, name, key, labels, parent }, context) {
      const rebase = parent === "" ? {} : { parent };
      const options = { ...rebase, labels: fromProtoLabels(labels), signal: context.signal };
      await snapshotterFor(context, snapshotter).commit(name, key, options);
      return {};
    },
    async remove({ snapshotter, key }, context) {
      await snapshotterFor(context, snapshotter).remove(key, context);
      return {};
    },
    async stat({ snapshotter, key }, context) {
      return { info: toProtoInfo(await snapshotterFor(context, snapshotter).stat(key, context)) };
    },
    async update({ snapshotter, info, updateMask }, context) {
      if (info === undefined) throw invalidArgument("info required");
      const change = { name: info.name, labels: fromProtoLabels(info.labels) };
      const options = { fieldpaths: updateMask?.paths ?? [], signal: context.signal };
      return { info: toProtoInfo(await snapshotterFor(context, snapshotter).update(change, options)) };
    },
    async *list({ snapshotter, filters }, context) {
      let block: MessageInitShape<typeof InfoSchema>[] = [];
      const infos = snapshotterFor(context, snapshotter).list({ filters, signal: context.signal });
      for await (const info of infos) {
        block.push(toProtoInfo(info));
        if (block.length < LIST_BLOCK) continue;
        yield create(ListSnapshotsResponseSchema, { info: block });
        block = [];
      }
      if (block.length > 0) yield create(ListSnapshotsResponseSchema, { info: block });
    },
    async usage({ snapshotter, key }, context) {
      const { size, inodes } = await snapshotterFor(context, snapshotter).usage(key, context);
      return { size: BigInt(size), inodes: BigInt(inodes) };
    },
    async cleanup({ snapshotter }, context) {
      const found = snapshotterFor(context, snapshotter);
      if (found.cleanup === undefined) throw unimplemented("snapshotter does not implement Cleanup method");
      await found.cleanup(context);
      return {};
    },
  };
}

function toProtoInfo(info: SnapshotInfo): MessageInitShape<typeof InfoSchema> {
  return {
    name: info.name,
    parent: info.parent,
    kind: KINDS[info.kind],
    createdAt: timestampFromMs(info.createdAt),
    updatedAt: timestampFromMs(info.updatedAt),
    labels: toProtoLabels(info.labels),
  };
}
