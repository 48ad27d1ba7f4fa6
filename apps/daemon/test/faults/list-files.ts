import { readdir } from "node:fs/promises";
import { join } from "node:path";

/** This lists every name below directories. What goes away meanwhile may be in it or not. */
export async function listFiles(roots: readonly string[]): Promise<ReadonlySet<string>> {
  const names = new Set<string>();
  const pending = [...roots];
  for (let directory = pending.pop(); directory !== undefined; directory = pending.pop()) {
    const entries = await readdir(directory, { withFileTypes: true }).catch(() => []);
    for (const entry of entries) {
      const path = join(directory, entry.name);
      names.add(path);
      if (entry.isDirectory()) pending.push(path);
    }
  }
  return names;
}
