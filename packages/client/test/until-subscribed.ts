import { parseNamespace } from "@berth/core/namespaces";

import type { Client } from "../src/index.ts";

const NAMESPACE = parseNamespace("until-subscribed");

/** What {@link untilSubscribed} publishes. */
export const PROBE_TOPIC = "/test/probe";

/** This publishes until a subscription has `seen` something: the protocol does not tell when one has begun. */
export async function untilSubscribed(client: Client, seen: Promise<unknown>): Promise<void> {
  const event = { typeUrl: "containerd.events.NamespaceDelete", value: new Uint8Array([10, 1, 120]) };
  const again = setInterval(() => void client.events.publish(NAMESPACE, PROBE_TOPIC, event).catch(() => {}), 50);
  await seen.finally(() => clearInterval(again));
}
