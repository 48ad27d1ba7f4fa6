import { childEnvironment } from "@berth/core/child-environment";
import { deadlineExceeded, unavailable } from "@berth/errors";

import { spawn } from "../process/spawn.ts";
import { waitClaimed } from "../process/wait.ts";
import type { LinuxMount } from "./mount-options.ts";

const DEADLINE_MS = 10_000;

/**
 * This mounts `fuse.<name>` and `fuse3.<name>` through the helpers `mount.fuse` and `mount.fuse3`, which start the file
 * system's own program. The helper returns when the mount is there; a helper that hangs is killed after ten seconds.
 * @throws ENOENT - there is no such helper
 * @throws unavailable - the helper failed
 */
export async function mountFuse(mount: LinuxMount, target: string): Promise<void> {
  const version3 = mount.type.startsWith("fuse3.");
  const helper = version3 ? "mount.fuse3" : "mount.fuse";
  const subtype = mount.type.slice(version3 ? "fuse3.".length : "fuse.".length);
  const args = [mount.source, target, ...mount.options.flatMap((option) => ["-o", option]), "-t", subtype];
  const pid = spawn({ path: helper, args, env: childEnvironment(), stdio: ["null", "null", 2] });
  const ended = await waitClaimed(pid, DEADLINE_MS);
  if (!ended) {
    process.kill(pid, "SIGKILL");
    await waitClaimed(pid, DEADLINE_MS);
    throw deadlineExceeded(`mount ${target}: ${helper} did not end within ${DEADLINE_MS} ms`);
  }
  if (ended.status !== 0) throw unavailable(`mount ${target}: ${helper} ended with status ${ended.status}`);
}
