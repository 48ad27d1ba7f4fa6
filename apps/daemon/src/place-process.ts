import type { Logger } from "@berth/core/log";
import { messageOf, wrapError } from "@berth/errors";

import type { DaemonConfig } from "./config/daemon-config.ts";

/**
 * This gives the process the place that the configuration wants: a score for the kernel when memory runs out, and a cgroup. What is started
 * later inherits both, unless it says otherwise. A score that is not permitted is logged: the daemon is of use without it.
 *
 * @throws whatever kept it out of the cgroup: its limits must not be escaped from
 * @see containerd cmd/containerd/server/server_linux.go, apply
 */
export async function placeProcess(config: Pick<DaemonConfig, "oom_score" | "cgroup">, log: Logger): Promise<void> {
  const { oom_score: score } = config;
  const { path } = config.cgroup;
  if (score !== 0) {
    const { setOomScoreAdj } = await import("@berth/linux/process");
    try {
      setOomScoreAdj("self", score);
    } catch (error) {
      log.error("failed to change OOM score", { score, error: messageOf(error) });
    }
  }
  if (path === "") return;
  const { joinCgroup } = await import("@berth/linux/cgroups");
  try {
    joinCgroup(path);
  } catch (error) {
    throw wrapError(error, `join cgroup ${path}`);
  }
}
