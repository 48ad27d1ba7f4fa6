import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromMs } from "@bufbuild/protobuf/wkt";
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import {
  Content,
  type InfoSchema,
  ListContentResponseSchema,
  type ReadContentRequest,
  ReadContentResponseSchema,
  type StatusSchema,
} from "@berth/api/containerd/services/content/v1/content";
import type { ContentInfo, ContentStore, IngestStatus } from "@berth/core/content";
import { fromProtoLabels, toProtoLabels } from "@berth/core/labels";
import { invalidArgument, outOfRange } from "@berth/errors";
import { parseDigest } from "@berth/oci";
import { readBulkMessage } from "@berth/rpc";

import { handleWrite } from "./write-handler.ts";

export { Content } from "@berth/api/containerd/services/content/v1/content";

/** Options of {@link createContentService}. */
export interface ContentServiceOptions {
  /** This gives the store a call is about: that of its namespace and lease. */
  readonly storeFor: (context: HandlerContext) => ContentStore;
}

const LIST_BLOCK = 100;
const READ_BYTES = 1 << 20;

/**
 * This serves content stores as `containerd.services.content.v1.Content`.
 *
 * @see containerd plugins/services/content/contentserver
 */
export function createContentService(options: ContentServiceOptions): ServiceImpl<typeof Content> {
  const { storeFor } = options;
  return {
    async info(request, context) {
      const digest = parseDigest(request.digest);
      return { info: toProtoInfo(await storeFor(context).info(digest, context)) };
    },
    async update({ info, updateMask }, context) {
      const change = { digest: parseDigest(info?.digest ?? ""), labels: fromProtoLabels(info?.labels ?? {}) };
      const fieldpaths = updateMask?.paths ?? [];
      return { info: toProtoInfo(await storeFor(context).update(change, { fieldpaths, signal: context.signal })) };
    },
    async *list({ filters }, context) {
      let block: MessageInitShape<typeof InfoSchema>[] = [];
      for await (const info of storeFor(context).list({ filters, signal: context.signal })) {
        block.push(toProtoInfo(info));
        if (block.length < LIST_BLOCK) continue;
        yield create(ListContentResponseSchema, { info: block });
        block = [];
      }
      if (block.length > 0) yield create(ListContentResponseSchema, { info: block });
    },
    async delete(request, context) {
      await storeFor(context).delete(parseDigest(request.digest), context);
      return {};
    },
    read: (request, context) => readBlocks(storeFor(context), request, context),
    async status({ ref }, context) {
      return { status: toProtoStatus(await storeFor(context).status(ref, context)) };
    },
    async listStatuses({ filters }, context) {
      const found = await Array.fromAsync(storeFor(context).listStatuses({ filters, signal: context.signal }));
      return { statuses: found.map(toProtoStatus) };
    },
    write: (requests, context) => handleWrite(storeFor(context), requests, context),
    async abort({ ref }, context) {
      if (ref === "") throw invalidArgument("ref must not be empty");
      await storeFor(context).abort(ref, context);
      return {};
    },
  };
}

/** The offsets of the answers count from where this read began, not from the start of the blob: containerd's wire behaviour. */
async function* readBlocks(store: ContentStore, request: ReadContentRequest, context: HandlerContext) {
  const digest = parseDigest(request.digest);
  await using reader = await store.reader(digest, context);
  if (request.offset > BigInt(reader.size)) {
    throw outOfRange(`read past the end of ${digest}: offset ${request.offset}, size ${reader.size}`);
  }
  const start = Math.max(0, Number(request.offset));
  const rest = reader.size - start;
  const size = request.size > 0n && request.size < BigInt(rest) ? Number(request.size) : rest;
  const { signal } = context;
  for (let offset = 0; offset < size; offset += READ_BYTES) {
    const length = Math.min(READ_BYTES, size - offset);
    const read = (into: Uint8Array): Promise<Uint8Array> => reader.readAt(start + offset, length, { into, signal });
    yield await readBulkMessage(
      ReadContentResponseSchema,
      { offset: BigInt(offset) },
      { field: "data", size: length, read },
    );
  }
}

function toProtoInfo(info: ContentInfo): MessageInitShape<typeof InfoSchema> {
  return {
    digest: info.digest,
    size: BigInt(info.size),
    createdAt: timestampFromMs(info.createdAt),
    updatedAt: timestampFromMs(info.updatedAt),
    labels: toProtoLabels(info.labels),
  };
}

function toProtoStatus(status: IngestStatus): MessageInitShape<typeof StatusSchema> {
  return {
    ref: status.ref,
    offset: BigInt(status.offset),
    total: BigInt(status.total),
    startedAt: timestampFromMs(status.startedAt),
    updatedAt: timestampFromMs(status.updatedAt),
    expected: status.expected ?? "",
  };
}
