import type { Labels } from "@berth/core/labels";

/** This writes labels as `key=value` in order of the keys, joined by commas; `none` when there are none. */
export function formatLabels(labels: Labels, none = ""): string {
  if (labels.size === 0) return none;
  return [...labels]
    .map(([key, value]) => `${key}=${value}`)
    .toSorted()
    .join(",");
}
