import { deadlineExceeded, unavailable } from "@berth/errors";

import { spawn } from "../process/spawn.ts";
import { type ExitStatus, waitPid } from "../process/wait.ts";
import type { LinuxMount } from "./mount-options.ts";

const DEADLINE_MS = 10_000;
const PAUSE_MS = 5;

/**
 * This mounts `fuse.<name>` and `fuse3.<name>` through the helpers `mount.fuse` and `mount.fuse3`, which start the file
 * system's own program. The helper returns when the mount is there; a helper that hangs is killed after ten seconds.
 * @throws ENOENT - there is no such helper
 * @throws unavailable - the helper failed
 */
export function mountFuse(mount: LinuxMount, target: string): void {
  const version3 = mount.type.startsWith("fuse3.");
  const helper = version3 ? "mount.fuse3" : "mount.fuse";
  const subtype = mount.type.slice(version3 ? "fuse3.".length : "fuse.".length);
  const args = [mount.source, target, ...mount.options.flatMap((option) => ["-o", option]), "-t", subtype];
  const pid = spawn({ path: helper, args, env: process.env, stdio: ["null", "null", 2] });
  const ended = waitAtMost(pid);
  if (!ended) throw deadlineExceeded(`mount ${target}: ${helper} did not end within ${DEADLINE_MS} ms`);
  if (ended.status !== 0) throw unavailable(`mount ${target}: ${helper} ended with status ${ended.status}`);
}

function waitAtMost(pid: number): ExitStatus | undefined {
  const clock = new Int32Array(new SharedArrayBuffer(4));
  for (let waited = 0; waited < DEADLINE_MS; waited += PAUSE_MS) {
    const ended = waitPid(pid);
    if (ended) return ended;
    Atomics.wait(clock, 0, 0, PAUSE_MS);
  }
  process.kill(pid, "SIGKILL");
  waitPid(pid, { noHang: false });
  return undefined;
}
