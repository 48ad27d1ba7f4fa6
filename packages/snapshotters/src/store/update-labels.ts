import { type Labels, validateLabels } from "@berth/core/labels";
import { invalidArgument } from "@berth/errors";

const PREFIX = "labels.";

/**
 * This applies a change of labels: without field paths, or with `labels`, all are replaced; `labels.<key>` sets one.
 * An empty value deletes.
 *
 * @throws invalid_argument - another field path, or a label that is too large
 */
export function updateLabels(current: Labels, wanted: Labels, fieldpaths: readonly string[] = []): Labels {
  validateLabels(wanted);
  checkPaths(fieldpaths);
  if (fieldpaths.length === 0 || fieldpaths.includes("labels")) return withoutEmpty(wanted);
  const result = new Map(current);
  for (const path of fieldpaths) {
    const key = path.slice(PREFIX.length);
    result.set(key, wanted.get(key) ?? "");
  }
  return withoutEmpty(result);
}

/** This drops labels whose value is empty: they count as absent. */
export function withoutEmpty(labels: Labels): Labels {
  return new Map([...labels].filter(([, value]) => value !== ""));
}

function checkPaths(fieldpaths: readonly string[]): void {
  const bad = fieldpaths.find((path) => path !== "labels" && !path.startsWith(PREFIX));
  if (bad !== undefined) throw invalidArgument(`cannot update field ${JSON.stringify(bad)} of a snapshot`);
}
