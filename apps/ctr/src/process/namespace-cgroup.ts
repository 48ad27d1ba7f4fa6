import { existsSync } from "node:fs";
import { readdir, rmdir } from "node:fs/promises";
import { join } from "node:path";

import { wrapError } from "@berth/errors";

const CGROUP_ROOT = "/sys/fs/cgroup";

/** This removes the cgroup that holds the containers of a namespace, from every hierarchy. @throws failed_precondition - still in use */
export async function removeNamespaceCgroup(namespace: string): Promise<void> {
  const hierarchies = (await readdir(CGROUP_ROOT, { withFileTypes: true })).filter((entry) => entry.isDirectory());
  for (const directory of [CGROUP_ROOT, ...hierarchies.map(({ name }) => join(CGROUP_ROOT, name))]) {
    const cgroup = join(directory, namespace);
    // A cgroup of version 1 or 2; what else may have the name is left alone.
    if (!existsSync(join(cgroup, "cgroup.procs"))) continue;
    try {
      await rmdir(cgroup);
    } catch (error) {
      throw wrapError(error, `remove cgroup ${cgroup}`);
    }
  }
}
