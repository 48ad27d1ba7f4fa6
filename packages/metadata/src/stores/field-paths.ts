import type { Labels } from "@berth/core/labels";

/** This drops labels without a value: writing one removes it, as everywhere in containerd. */
export function storedLabels(labels: Labels): Labels {
  return new Map([...labels].filter(([, value]) => value !== ""));
}

/** This takes over one entry of a map, or its absence. */
export function withEntry<V>(
  target: ReadonlyMap<string, V>,
  key: string,
  source: ReadonlyMap<string, V>,
): Map<string, V> {
  const result = new Map(target);
  const value = source.get(key);
  if (value === undefined) result.delete(key);
  else result.set(key, value);
  return result;
}

/** This splits `labels.a.b` into `["labels", "a.b"]`; a path without a dot has no key. */
export function splitFieldPath(path: string): readonly [name: string, key: string | undefined] {
  const dot = path.indexOf(".");
  return dot === -1 ? [path, undefined] : [path.slice(0, dot), path.slice(dot + 1)];
}

/** This applies field paths to labels alone, `undefined` when one of them names anything else. */
export function updateLabels(current: Labels, change: Labels, fieldpaths: readonly string[] = []): Labels | undefined {
  if (fieldpaths.length === 0) return change;
  let labels = current;
  for (const path of fieldpaths) {
    const [name, key] = splitFieldPath(path);
    if (name !== "labels") return undefined;
    labels = key === undefined ? change : withEntry(labels, key, change);
  }
  return labels;
}
