import { hash } from "node:crypto";

import type { EventEnvelope } from "@berth/core/events";

/** Some seconds' worth where many containers come and go; what was sent twice arrives close together. */
const REMEMBERED = 4096;

/** Knows the envelopes that came last, by all that they say. */
export class RecentEnvelopes {
  /** In the order of arrival. */
  readonly #keys = new Set<string>();

  /** This notes an envelope and returns whether it is new; {@link forget} takes that back. */
  note(envelope: EventEnvelope): boolean {
    const key = keyOf(envelope);
    if (this.#keys.has(key)) return false;
    this.#keys.add(key);
    const [oldest] = this.#keys;
    if (this.#keys.size > REMEMBERED && oldest !== undefined) this.#keys.delete(oldest);
    return true;
  }

  forget(envelope: EventEnvelope): void {
    this.#keys.delete(keyOf(envelope));
  }
}

/** Of one length, whatever is sent. */
function keyOf({ timestampNs, namespace, topic, event }: EventEnvelope): string {
  const content = hash("sha256", event.value, "base64");
  return hash("sha256", JSON.stringify([String(timestampNs), namespace, topic, event.typeUrl, content]), "base64");
}
