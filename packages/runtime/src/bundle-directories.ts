import { readdir } from "node:fs/promises";
import { join } from "node:path";

import type { Logger } from "@berth/core/log";
import { type Namespace, parseNamespace } from "@berth/core/namespaces";
import { ignoreNotFound } from "@berth/errors";

import { type BundleName, removeAtomically } from "./bundle.ts";

/** This lists the bundles below a directory, those left out that are half removed. */
export async function listBundles(directory: string, log: Logger): Promise<readonly BundleName[]> {
  const names: BundleName[] = [];
  for (const entry of await directories(directory)) {
    let namespace: Namespace;
    try {
      namespace = parseNamespace(entry);
    } catch {
      log.warn("directory of no namespace ignored", { path: join(directory, entry) });
      continue;
    }
    for (const id of await directories(join(directory, entry))) {
      if (!id.startsWith(".")) names.push({ namespace, id });
    }
  }
  return names;
}

/** This removes the work directories that no bundle uses any more; what cannot be removed is logged. */
export async function removeStaleWork(rootDir: string, used: ReadonlySet<string>, log: Logger): Promise<void> {
  for (const namespace of await directories(rootDir)) {
    for (const id of await directories(join(rootDir, namespace))) {
      const path = join(rootDir, namespace, id);
      if (used.has(path)) continue;
      await removeAtomically(path).catch((error: unknown) =>
        log.error("failed to clean up work directory", { path, error }),
      );
    }
  }
}

async function directories(path: string): Promise<string[]> {
  const entries = (await readdir(path, { withFileTypes: true }).catch(ignoreNotFound)) ?? [];
  return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
}
