import type { Client, Transport } from "@connectrpc/connect";
import { Namespaces } from "@berth/api/containerd/services/namespaces/v1/namespaces";
import type { CallOptions } from "@berth/core/any";
import type { Labels } from "@berth/core/labels";
import { fromProtoLabels, toProtoLabels } from "@berth/core/labels";
import type { Namespace, NamespaceRecord, NamespaceStore } from "@berth/core/namespaces";
import { parseNamespace } from "@berth/core/namespaces";
import { createClient } from "@berth/rpc/client";

import { callOptions } from "./call-options.ts";
import { present } from "./wire-values.ts";

/** A namespace store that can also list with labels, in one call. */
export interface NamespacesClient extends NamespaceStore {
  /** This lists the namespaces with their labels in byte order of the names. */
  listRecords(options?: CallOptions): AsyncIterable<NamespaceRecord>;
}

/** This makes a namespace store of the one that answers over `transport`. */
export function createNamespacesClient(transport: Transport): NamespacesClient {
  return new RemoteNamespaceStore(createClient(Namespaces, transport));
}

class RemoteNamespaceStore implements NamespacesClient {
  readonly #client: Client<typeof Namespaces>;

  constructor(client: Client<typeof Namespaces>) {
    this.#client = client;
  }

  async create(name: Namespace, labels: Labels, options?: CallOptions): Promise<void> {
    await this.#client.create({ namespace: { name, labels: toProtoLabels(labels) } }, callOptions(options));
  }

  async labels(name: Namespace, options?: CallOptions): Promise<Labels> {
    const { namespace } = await this.#client.get({ name }, callOptions(options));
    return fromProtoLabels(present(namespace, "namespace").labels);
  }

  async setLabels(name: Namespace, labels: Labels, options?: CallOptions): Promise<void> {
    // Without a path, all other labels would go.
    if (labels.size === 0) return;
    await this.#client.update(
      {
        namespace: { name, labels: toProtoLabels(labels) },
        updateMask: { paths: [...labels.keys()].map((key) => `labels.${key}`) },
      },
      callOptions(options),
    );
  }

  async *list(options?: CallOptions): AsyncIterable<Namespace> {
    for await (const { name } of this.listRecords(options)) yield name;
  }

  async *listRecords(options?: CallOptions): AsyncIterable<NamespaceRecord> {
    const { namespaces } = await this.#client.list({}, callOptions(options));
    for (const { name, labels } of namespaces) yield { name: parseNamespace(name), labels: fromProtoLabels(labels) };
  }

  async delete(name: Namespace, options?: CallOptions): Promise<void> {
    await this.#client.delete({ name }, callOptions(options));
  }
}
