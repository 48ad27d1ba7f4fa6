import type { CallOptions } from "@berth/core/any";
import { isNotFound, isResourceExhausted, isUnavailable, isDeadlineExceeded, notFound } from "@berth/errors";

import type { Capability, RegistryHost } from "./hosts/registry-host.ts";
import { isBusy } from "./registry-error.ts";

/**
 * This asks hosts in turn, until one answers. Those that were busy are asked again when no other has answered: each time, the last of them knows
 * that it is. Of the errors of the others, the first of the weightiest class is thrown: that of a connection counts least, then
 * "not found", then any other answer, then "too large".
 *
 * @throws not_found - no host has the capabilities
 */
export async function askHosts<T>(
  hosts: readonly RegistryHost[],
  capabilities: readonly Capability[],
  ask: (host: RegistryHost, isLast: boolean) => Promise<T>,
  { signal }: CallOptions = {},
): Promise<T> {
  const able = hosts.filter((host) => capabilities.every((each) => host.capabilities.has(each)));
  let worst: unknown;
  for (let left = able; left.length > 0;) {
    const busy: RegistryHost[] = [];
    for (const [index, host] of left.entries()) {
      signal?.throwIfAborted();
      const isLast = index === left.length - 1;
      try {
        return await ask(host, isLast);
      } catch (error) {
        if (signal?.aborted === true) throw error;
        if (!isLast && isBusy(error)) busy.push(host);
        else if (worst === undefined || weightOf(error) > weightOf(worst)) worst = error;
      }
    }
    left = busy;
  }
  throw worst ?? notFound(`no host of the registry is configured for ${capabilities.join(" and ")}`);
}

function weightOf(error: unknown): number {
  if (isUnavailable(error) || isDeadlineExceeded(error)) return 0;
  if (isNotFound(error)) return 1;
  return isResourceExhausted(error) ? 3 : 2;
}
