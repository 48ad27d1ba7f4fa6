import type { Client, Transport } from "@connectrpc/connect";
import type { Info, Status } from "@berth/api/containerd/services/content/v1/content";
import { Content } from "@berth/api/containerd/services/content/v1/content";
import type { CallOptions } from "@berth/core/any";
import type {
  ContentInfo,
  ContentReader,
  ContentStore,
  ContentWriter,
  IngestStatus,
  ListOptions,
  UpdateOptions,
  WriterOptions,
} from "@berth/core/content";
import type { Labels } from "@berth/core/labels";
import { fromProtoLabels, toProtoLabels } from "@berth/core/labels";
import { fromProtoTimestamp } from "@berth/core/timestamp";
import type { Digest } from "@berth/oci";
import { parseDigest } from "@berth/oci";
import { createClient } from "@berth/rpc/client";

import { type BackendOptions, callOptions } from "./call-options.ts";
import { RemoteContentReader } from "./content-reader.ts";
import { RemoteContentWriter } from "./content-writer.ts";
import { fromProtoInt, present, toProtoMask } from "./wire-values.ts";

/** This makes a content store of the one that answers over `transport`. */
export function createContentClient(transport: Transport, options: BackendOptions = {}): ContentStore {
  return new RemoteContentStore(createClient(Content, transport), options);
}

class RemoteContentStore implements ContentStore {
  readonly #client: Client<typeof Content>;
  readonly #namespaceOf: (ref: string) => string | undefined;

  constructor(client: Client<typeof Content>, options: BackendOptions) {
    this.#client = client;
    this.#namespaceOf = options.namespaceOf ?? (() => undefined);
  }

  async info(digest: Digest, options?: CallOptions): Promise<ContentInfo> {
    const { info } = await this.#client.info({ digest }, callOptions(options));
    return fromProtoInfo(present(info, "info"));
  }

  async update(
    change: { readonly digest: Digest; readonly labels: Labels },
    options?: UpdateOptions,
  ): Promise<ContentInfo> {
    const { info } = await this.#client.update(
      {
        info: { digest: change.digest, labels: toProtoLabels(change.labels) },
        ...toProtoMask(options?.fieldpaths),
      },
      callOptions(options),
    );
    return fromProtoInfo(present(info, "info"));
  }

  async *list(options?: ListOptions): AsyncIterable<ContentInfo> {
    const request = { filters: [...(options?.filters ?? [])] };
    for await (const { info } of this.#client.list(request, callOptions(options))) yield* info.map(fromProtoInfo);
  }

  async delete(digest: Digest, options?: CallOptions): Promise<void> {
    await this.#client.delete({ digest }, callOptions(options));
  }

  async status(ref: string, options?: CallOptions): Promise<IngestStatus> {
    const { status } = await this.#client.status({ ref }, callOptions(options, this.#namespaceOf(ref)));
    return fromProtoStatus(present(status, "status"));
  }

  async *listStatuses(options?: ListOptions): AsyncIterable<IngestStatus> {
    const request = { filters: [...(options?.filters ?? [])] };
    const { statuses } = await this.#client.listStatuses(request, callOptions(options));
    yield* statuses.map(fromProtoStatus);
  }

  async abort(ref: string, options?: CallOptions): Promise<void> {
    await this.#client.abort({ ref }, callOptions(options, this.#namespaceOf(ref)));
  }

  async reader(digest: Digest, options?: CallOptions): Promise<ContentReader> {
    const { size } = await this.info(digest, options);
    return new RemoteContentReader(this.#client, digest, size);
  }

  writer(ref: string, options: WriterOptions = {}): Promise<ContentWriter> {
    const info = (digest: Digest, more?: CallOptions) => this.info(digest, more);
    return RemoteContentWriter.open({ client: this.#client, namespace: this.#namespaceOf(ref), info }, ref, options);
  }
}

function fromProtoInfo(info: Info): ContentInfo {
  return {
    digest: parseDigest(info.digest),
    size: fromProtoInt(info.size),
    createdAt: fromProtoTimestamp(info.createdAt),
    updatedAt: fromProtoTimestamp(info.updatedAt),
    labels: fromProtoLabels(info.labels),
  };
}

function fromProtoStatus(status: Status): IngestStatus {
  return {
    ref: status.ref,
    offset: fromProtoInt(status.offset),
    total: fromProtoInt(status.total),
    ...(status.expected === "" ? {} : { expected: parseDigest(status.expected) }),
    startedAt: fromProtoTimestamp(status.startedAt),
    updatedAt: fromProtoTimestamp(status.updatedAt),
  };
}
