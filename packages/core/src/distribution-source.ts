import { parseReference, referenceHost } from "@berth/oci";

import type { Labels } from "./labels.ts";

/** Before the registry in the key of a label that says from which of its repositories a blob comes. */
export const DISTRIBUTION_SOURCE = "containerd.io/distribution.source.";

/** This returns the key for a registry; its port does not count. */
export function sourceLabel(registry: string): string {
  return `${DISTRIBUTION_SOURCE}${registry.replace(/:\d+$/, "")}`;
}

/**
 * This returns the label of blobs that are pulled: a push to the same registry has them taken over from there.
 *
 * @throws invalid_argument - no reference
 * @see containerd core/remotes/docker/handler.go, AppendDistributionSourceLabel
 */
export function sourceLabels(name: string): Labels {
  const reference = parseReference(name);
  const host = referenceHost(reference);
  return new Map([[sourceLabel(host), reference.locator.slice(host.length + 1)]]);
}
