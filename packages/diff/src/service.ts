import type { ServiceImpl } from "@connectrpc/connect";
import { type ApplyRequest, Diff, type DiffRequest } from "@berth/api/containerd/services/diff/v1/diff";
import type { Descriptor as ProtoDescriptor } from "@berth/api/containerd/types/descriptor";
import type { Applier, ApplyOptions, Comparer } from "@berth/core/diff";
import type { NamespaceOptions } from "@berth/core/metadata";
import { fromProtoMount, type Mount } from "@berth/core/mount";
import type { Namespace } from "@berth/core/namespaces";
import { fromProtoTimestamp } from "@berth/core/timestamp";
import { toProtoDescriptor } from "@berth/core/proto-descriptor";
import { invalidArgument, isUnimplemented, unimplemented } from "@berth/errors";
import { type Descriptor, parseDigest } from "@berth/oci";
import { leaseOf, namespaceOf } from "@berth/rpc";
import type { HandlerContext } from "@connectrpc/connect";

export { Diff };

/** Gives what applies and compares layers in a namespace; a differ may be able to do only one of the two. */
export type DifferOf = (namespace: Namespace, options?: NamespaceOptions) => Applier & Partial<Comparer>;

export interface DiffServiceOptions {
  /** Sync the file system after each layer, also where the request does not ask for it. */
  readonly syncFs?: boolean;
}

/**
 * This serves `containerd.services.diff.v1.Diff` over any differs: the first one that does not answer unimplemented counts.
 *
 * @see containerd plugins/services/diff/local.go
 */
export function createDiffService(
  differs: readonly DifferOf[],
  { syncFs = true }: DiffServiceOptions = {},
): ServiceImpl<typeof Diff> {
  const all = (context: HandlerContext): (Applier & Partial<Comparer>)[] => {
    const namespace = namespaceOf(context);
    const lease = leaseOf(context);
    return differs.map((differ) => differ(namespace, { lease }));
  };
  return {
    async apply(request, context) {
      const [descriptor, mounts, options] = fromProtoApply(request, syncFs, context.signal);
      const applied = await first(all(context), (differ) => differ.apply(descriptor, mounts, options));
      return { applied: toProtoDescriptor(applied) };
    },
    async diff(request, context) {
      const able = all(context).filter((differ): differ is Applier & Comparer => differ.compare !== undefined);
      const made = await first(able, (differ) => compare(differ, request, context.signal));
      return { diff: toProtoDescriptor(made) };
    },
  };
}

async function first<D>(differs: readonly D[], attempt: (differ: D) => Promise<Descriptor>): Promise<Descriptor> {
  let last: unknown = unimplemented("no differ can do that");
  for (const differ of differs) {
    try {
      return await attempt(differ);
    } catch (error) {
      if (!isUnimplemented(error)) throw error;
      last = error;
    }
  }
  throw last;
}

function fromProtoApply(
  request: ApplyRequest,
  syncFs: boolean,
  signal: AbortSignal,
): [Descriptor, Mount[], ApplyOptions] {
  const payloads = new Map(Object.entries(request.payloads));
  const options = { payloads, syncFs: request.syncFs || syncFs, signal };
  return [fromProtoDescriptor(request.diff), request.mounts.map(fromProtoMount), options];
}

function compare(differ: Comparer, request: DiffRequest, signal: AbortSignal): Promise<Descriptor> {
  const { mediaType, ref, sourceDateEpoch } = request;
  return differ.compare(request.left.map(fromProtoMount), request.right.map(fromProtoMount), {
    labels: new Map(Object.entries(request.labels)),
    signal,
    ...(mediaType === "" ? {} : { mediaType }),
    ...(ref === "" ? {} : { ref }),
    ...(sourceDateEpoch === undefined ? {} : { sourceDateEpoch: fromProtoTimestamp(sourceDateEpoch) }),
  });
}

function fromProtoDescriptor(descriptor: ProtoDescriptor | undefined): Descriptor {
  if (descriptor === undefined) throw invalidArgument("diff descriptor is required");
  const { mediaType, digest, size, annotations } = descriptor;
  if (size < 0n || size > BigInt(Number.MAX_SAFE_INTEGER)) throw invalidArgument(`invalid size ${size} of ${digest}`);
  return { mediaType, digest: parseDigest(digest), size: Number(size), annotations };
}
