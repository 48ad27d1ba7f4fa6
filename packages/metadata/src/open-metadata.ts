import type { ContentStore } from "@berth/core/content";
import type { EventPublisher } from "@berth/core/events";
import type { Logger } from "@berth/core/log";
import { silentLogger } from "@berth/core/log";
import type { Snapshotter } from "@berth/core/snapshots";

import type { DatabaseBeginning } from "./database/database-header.ts";
import { MetadataDatabase } from "./database/metadata-database.ts";
import { CollectorRegistry } from "./gc/collector-registry.ts";
import { Collector } from "./gc/collector.ts";
import { surveyBackends } from "./gc/survey-backends.ts";
import { Metadata } from "./metadata.ts";
import type { SharingPolicy } from "./stores/backend-content.ts";
import { BackendContent } from "./stores/backend-content.ts";
import { BackendSnapshotter } from "./stores/backend-snapshotter.ts";
import { forgetLostBlobs } from "./stores/forget-lost-blobs.ts";

/** A backend of others may not answer; the daemon starts all the same. */
const SURVEY_MS = 10_000;

/** What {@link openMetadata} needs. */
export interface MetadataOptions {
  /** Path of the database file; its directory must exist. */
  readonly path: string;
  readonly content: ContentStore;
  /** By the name under which clients know them. */
  readonly snapshotters: ReadonlyMap<string, Snapshotter>;
  readonly events: EventPublisher;
  /** `shared` by default. */
  readonly sharingPolicy?: SharingPolicy;
  /** Commits are answered before they are on disk; false by default. */
  readonly noSync?: boolean;
  readonly log?: Logger;
  /**
   * Called once when the database cannot be trusted any more, after a failed fsync: the process must end, the next start
   * recovers. Every update fails from then on.
   */
  readonly fatal: (error: Error) => void;
  /** When this process began, milliseconds since 1970; what backends hold since then without a record is left alone. */
  readonly startedAt?: number;
}

/**
 * This opens the metadata database, or makes it. The backends stay the caller's. Dispose the result before them.
 *
 * @throws failed_precondition - the database was written by a newer version
 */
export async function openMetadata(options: MetadataOptions): Promise<Metadata> {
  const { log = silentLogger, path, events, fatal } = options;
  const { noSync = false } = options;
  const begin = () => beginOver(options, log);
  const database = await MetadataDatabase.open({ path, events, fatal, log, noSync, begin });
  const content = new BackendContent(options.content, options.sharingPolicy ?? "shared");
  const snapshotters = new Map(
    [...options.snapshotters].map(([name, snapshotter]) => [name, new BackendSnapshotter(name, snapshotter)]),
  );
  const startedAt = options.startedAt ?? performance.timeOrigin;
  const collectors = new CollectorRegistry();
  const collector = new Collector({ database, content, snapshotters, collectors, startedAt, log });
  const losses = forgetLostBlobs(database, options.content, log);
  return new Metadata({ database, content, snapshotters, collector, collectors, losses });
}

/** A database that is made over what backends hold takes the place of one that is lost: its collector must not take all that for garbage. */
async function beginOver(
  { path, content, snapshotters }: MetadataOptions,
  log: Logger,
): Promise<DatabaseBeginning | undefined> {
  const madeOverBackendsAt = Date.now();
  try {
    const signal = AbortSignal.timeout(SURVEY_MS);
    const { isEmpty, beginning } = await surveyBackends({ content, snapshotters }, { signal });
    if (isEmpty) return undefined;
    const message = "metadata database is lost: content and snapshots are kept, berthd db repair brings images back";
    log.warn(message, { path });
    return beginning;
  } catch (error) {
    log.warn("metadata database is new, and it is not known what content and snapshots are there: they are kept", {
      path,
      error,
    });
    // Higher than any that was given out one by one.
    return { madeOverBackendsAt, firstSequence: BigInt(madeOverBackendsAt) };
  }
}
