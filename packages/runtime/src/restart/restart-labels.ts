import type { Labels } from "@berth/core/labels";
import { invalidArgument } from "@berth/errors";

/** Labels of a container that say how it is to be kept running. @see containerd core/runtime/restart/restart.go */
export const RestartLabel = {
  /** The status that is wanted, `running` or `stopped`; containers without it are left alone. */
  status: "containerd.io/restart.status",
  policy: "containerd.io/restart.policy",
  /** How often it was restarted; written by the monitor. */
  count: "containerd.io/restart.count",
  explicitlyStopped: "containerd.io/restart.explicitly-stopped",
  /** Where the output of restarted tasks goes. */
  logUri: "containerd.io/restart.loguri",
} as const;

/** Names of policies, in the order in which containerd shows them. */
export const RESTART_POLICIES = ["no", "always", "on-failure", "unless-stopped"] as const;

/** When a container is restarted that is not running. */
export interface RestartPolicy {
  readonly name: (typeof RESTART_POLICIES)[number];
  /** How often at most; 0 for no limit, and for all policies but `on-failure`. */
  readonly maxRetries: number;
}

/** This reads a policy: one of its names, `on-failure:N`, or nothing, which is `always`. @throws invalid_argument */
export function parseRestartPolicy(text: string): RestartPolicy {
  const [given = "", retries, ...rest] = text.split(":");
  const name = RESTART_POLICIES.find((policy) => policy === (given || "always"));
  const refuse = (why: string): Error => invalidArgument(`restart policy ${JSON.stringify(text)}: ${why}`);
  if (name === undefined || rest.length > 0) throw refuse("no such policy");
  if (retries === undefined) return { name, maxRetries: 0 };
  if (name !== "on-failure") {
    if (retries === "") return { name, maxRetries: 0 };
    throw refuse("only on-failure has a number of retries");
  }
  const maxRetries = parseCount(retries);
  if (maxRetries === undefined) throw refuse("the number of retries is none");
  return { name, maxRetries };
}

/**
 * This decides on a container that is wanted running and is not: whether its policy has it restarted. One without a task counts
 * as ended with success, as in containerd.
 *
 * @throws invalid_argument - the policy or the count is malformed
 */
export function wantsRestart(labels: Labels, exitStatus: number | undefined): boolean {
  const policy = parseRestartPolicy(labels.get(RestartLabel.policy) ?? "");
  switch (policy.name) {
    case "no":
      return false;
    case "always":
      return true;
    case "unless-stopped":
      // The words that Go takes for true.
      return !/^(?:1|t|T|TRUE|true|True)$/.test(labels.get(RestartLabel.explicitlyStopped) ?? "");
    case "on-failure": {
      const count = restartCount(labels);
      if (count === undefined)
        throw invalidArgument(`${RestartLabel.count}: ${JSON.stringify(labels.get(RestartLabel.count))}`);
      return (exitStatus ?? 0) !== 0 && (policy.maxRetries === 0 || count < policy.maxRetries);
    }
  }
}

/** This reads how often a container was restarted: `undefined` for what is no number. */
export function restartCount(labels: Labels): number | undefined {
  const text = labels.get(RestartLabel.count) ?? "";
  return text === "" ? 0 : parseCount(text);
}

function parseCount(text: string): number | undefined {
  return /^\d{1,9}$/.test(text) ? Number(text) : undefined;
}
