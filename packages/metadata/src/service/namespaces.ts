import type { ServiceImpl } from "@connectrpc/connect";
import type { Namespace as ProtoNamespace, Namespaces } from "@berth/api/containerd/services/namespaces/v1/namespaces";
import type { CallOptions } from "@berth/core/any";
import type { Labels } from "@berth/core/labels";
import { fromProtoLabels, toProtoLabels } from "@berth/core/labels";
import type { Namespace, NamespaceStore } from "@berth/core/namespaces";
import { parseNamespace } from "@berth/core/namespaces";
import { invalidArgument } from "@berth/errors";

const LABEL_PATH = "labels.";

/** This serves `containerd.services.namespaces.v1.Namespaces` over any namespace store; these calls need no namespace header. */
export function createNamespacesService(store: NamespaceStore): ServiceImpl<typeof Namespaces> {
  return {
    async get({ name }, { signal }) {
      const namespace = parseNamespace(name);
      return { namespace: toProtoNamespace(namespace, await store.labels(namespace, { signal })) };
    },
    async list(_request, { signal }) {
      const namespaces: ReturnType<typeof toProtoNamespace>[] = [];
      for await (const name of store.list({ signal })) {
        namespaces.push(toProtoNamespace(name, await store.labels(name, { signal })));
      }
      return { namespaces };
    },
    async create({ namespace }, { signal }) {
      const { name, labels } = fromProtoNamespace(namespace);
      await store.create(name, labels, { signal });
      return { namespace: toProtoNamespace(name, labels) };
    },
    async update({ namespace, updateMask }, { signal }) {
      const { name, labels } = fromProtoNamespace(namespace);
      const change = await changeOf(store, name, labels, updateMask?.paths ?? [], { signal });
      await store.setLabels(name, change, { told: labels, signal });
      return { namespace: toProtoNamespace(name, await store.labels(name, { signal })) };
    },
    async delete({ name }, { signal }) {
      await store.delete(parseNamespace(name), { signal });
      return {};
    },
  };
}

/** Without a mask the labels become those given; with one, only `labels.<key>` is understood. */
async function changeOf(
  store: NamespaceStore,
  name: Namespace,
  labels: Labels,
  paths: readonly string[],
  options: CallOptions,
): Promise<Labels> {
  const wrong = paths.find((path) => !path.startsWith(LABEL_PATH));
  if (wrong !== undefined) throw invalidArgument(`cannot update ${JSON.stringify(wrong)} field on namespace ${name}`);
  const current = paths.length > 0 ? [] : (await store.labels(name, options)).keys();
  const keys = paths.length > 0 ? paths.map((path) => path.slice(LABEL_PATH.length)) : [...current, ...labels.keys()];
  return new Map(keys.map((key) => [key, labels.get(key) ?? ""]));
}

function fromProtoNamespace(namespace: ProtoNamespace | undefined): { name: Namespace; labels: Labels } {
  if (namespace === undefined) throw invalidArgument("namespace must be given");
  return { name: parseNamespace(namespace.name), labels: fromProtoLabels(namespace.labels) };
}

function toProtoNamespace(name: Namespace, labels: Labels): { name: string; labels: Record<string, string> } {
  return { name, labels: toProtoLabels(labels) };
}
