import { listTree } from "../peers/list-tree.ts";
import type { TreeFacts } from "./fault-image.ts";

/** This reads a directory as {@link TreeFacts}. A file that cannot be read is an error. */
export async function readTree(root: string): Promise<TreeFacts> {
  const entries = await listTree(root);
  return new Map([...entries].map(([path, { mode, owner, content }]) => [path, `${mode} ${owner} ${String(content)}`]));
}

/** This names the paths that differ, at most ten; empty for equal trees. */
export function differences(found: TreeFacts, expected: TreeFacts): string[] {
  const paths = [...new Set([...found.keys(), ...expected.keys()])].toSorted();
  return paths
    .filter((path) => found.get(path) !== expected.get(path))
    .slice(0, 10)
    .map((path) => `${path}: ${found.get(path) ?? "missing"}, expected ${expected.get(path) ?? "nothing"}`);
}
