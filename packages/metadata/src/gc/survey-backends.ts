import type { CallOptions } from "@berth/core/any";
import type { ContentStore } from "@berth/core/content";
import type { Snapshotter } from "@berth/core/snapshots";

import type { DatabaseBeginning } from "../database/database-header.ts";
import { backendSequence } from "./backend-key.ts";

/** The stores whose objects a database gives names to. */
export interface Backends {
  readonly content: ContentStore;
  /** By the name under which clients know them. */
  readonly snapshotters: ReadonlyMap<string, Snapshotter>;
}

/** What backends hold that a database would have to know. */
export interface BackendSurvey {
  readonly isEmpty: boolean;
  /** With this a database begins that is made over it: it knows nothing of what is there, and takes no name again. */
  readonly beginning: DatabaseBeginning;
}

/** This looks at all that backends hold. */
export async function surveyBackends(
  { content, snapshotters }: Backends,
  { signal }: CallOptions = {},
): Promise<BackendSurvey> {
  const madeOverBackendsAt = Date.now();
  let highestSequence = 0n;
  let isEmpty = true;
  const see = (name: string): void => {
    isEmpty = false;
    const sequence = backendSequence(name) ?? 0n;
    if (sequence > highestSequence) highestSequence = sequence;
  };
  for await (const _blob of content.list({ signal })) {
    isEmpty = false;
    break;
  }
  for await (const { ref } of content.listStatuses({ signal })) see(ref);
  for (const snapshotter of snapshotters.values()) for await (const { name } of snapshotter.list({ signal })) see(name);
  return { isEmpty, beginning: { madeOverBackendsAt, firstSequence: highestSequence + 1n } };
}
