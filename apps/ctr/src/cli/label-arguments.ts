import type { Labels } from "@berth/core/labels";

import { parseLabels } from "./arguments.ts";

/** Labels as they shall be, and the paths of those that change. */
export interface LabelChange {
  readonly labels: Labels;
  readonly fieldpaths: readonly string[];
}

/** This reads the labels of a `label` command: `key=value` sets one, `key=` clears it. */
export function parseLabelChange(texts: readonly string[]): LabelChange {
  const labels = parseLabels(texts);
  return { labels, fieldpaths: [...labels.keys()].map((key) => `labels.${key}`) };
}
