import { existsSync, readdirSync, rmdirSync } from "node:fs";
import { join } from "node:path";

import { systemErrorCode } from "@berth/errors";
import { unmountRecursive } from "@berth/linux/mount";

/** This returns where CRIU keeps its logs of a bundle's container, unless somebody wants them elsewhere. */
export function criuWorkPath(bundle: string): string {
  return join(bundle, "work");
}

/**
 * This takes away what a restore has mounted that was killed: CRIU's view of all cgroups, in its directory of logs, and the container's root once more, in
 * the runtime's state. Whoever removes these directories with all below would else remove cgroups of others.
 */
export async function removeCriuMounts(workPath: string, statePath: string): Promise<void> {
  for (const name of readNames(workPath)) {
    if (name.startsWith(".criu.")) await unmountDirectory(join(workPath, name));
  }
  await unmountDirectory(join(statePath, "criu-root"));
  // runc does not know of a container that has no more than that
  if (readNames(statePath).length === 0 && existsSync(statePath)) rmdirSync(statePath);
}

async function unmountDirectory(path: string): Promise<void> {
  if (!existsSync(path)) return;
  await unmountRecursive(path);
  rmdirSync(path);
}

function readNames(path: string): readonly string[] {
  try {
    return readdirSync(path);
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return [];
    throw error;
  }
}
