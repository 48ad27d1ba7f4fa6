import type { CallOptions } from "@berth/core/any";
import type { ContentStore } from "@berth/core/content";
import type { Labels } from "@berth/core/labels";
import type { Descriptor } from "@berth/oci";
import { digestHex, isConfigType, isLayerType, isManifestType } from "@berth/oci";

const PREFIX = "containerd.io/gc.ref.content.";
/** Before the number of a layer. */
export const LAYER_REFERENCE = `${PREFIX}l.`;
const CHECKPOINT_CONFIG = "application/vnd.containerd.container.checkpoint.config.v1+proto";
/** On the descriptor of a referrer: the digest that it refers to. */
export const SUBJECT_ANNOTATION = "io.containerd.manifest.subject";

/**
 * This returns the labels by which a blob keeps its children from the garbage collector: `m.N` for manifests, `config`,
 * `l.N` for layers, `N` for anything else.
 *
 * @see containerd core/images/handlers.go, SetChildrenMappedLabels
 */
export function childLabels(
  children: readonly Descriptor[],
  options: { readonly withoutLayers?: boolean } = {},
): Labels {
  const labels = new Map<string, string>();
  const counts = new Map<string, number>();
  for (const child of children) {
    if (options.withoutLayers === true && isLayerType(child.mediaType)) continue;
    const key = labelKey(child);
    const count = counts.get(key) ?? 0;
    counts.set(key, count + 1);
    if (key.endsWith(".sha256.")) labels.set(`${key}${digestHex(child.digest).slice(0, 12)}`, child.digest);
    else labels.set(count > 0 || key.endsWith(".") ? `${key}${count}` : key, child.digest);
  }
  return labels;
}

/** This sets {@link childLabels} on the blob of `parent`; without children nothing is done. @throws not_found */
export async function labelChildren(
  content: ContentStore,
  parent: Descriptor,
  children: readonly Descriptor[],
  options: CallOptions & { readonly withoutLayers?: boolean } = {},
): Promise<void> {
  const labels = childLabels(children, options);
  if (labels.size === 0) return;
  const fieldpaths = [...labels.keys()].map((key) => `labels.${key}`);
  await content.update({ digest: parent.digest, labels }, { ...options, fieldpaths });
}

function labelKey({ mediaType, annotations }: Descriptor): string {
  if (annotations?.[SUBJECT_ANNOTATION] !== undefined) return `${PREFIX}referrer.sha256.`;
  if (isConfigType(mediaType) || mediaType === CHECKPOINT_CONFIG) return `${PREFIX}config`;
  if (isManifestType(mediaType)) return `${PREFIX}m.`;
  return isLayerType(mediaType) ? LAYER_REFERENCE : PREFIX;
}
