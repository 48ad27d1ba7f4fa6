import { mkdir } from "node:fs/promises";

import type { ContentStore } from "@berth/core/content";
import { silentLogger } from "@berth/core/log";
import { messageOf } from "@berth/errors";

import { openStoreContext, LocalContentStore, type LocalContentStoreOptions } from "./local-content-store.ts";
import { OpenBlobs } from "./open-blobs.ts";
import { UncleanMark } from "./unclean-mark.ts";
import { verifyBlobs } from "./verify-blobs.ts";

/** Long enough for a client that goes on at once, and nobody waits that long for the room of a deleted file. */
const IDLE_MS = 1000;

/** A content store that knows whether it was closed in order. Disposing it closes it; the store must no longer be in use. */
export interface OpenContentStore extends AsyncDisposable {
  readonly store: ContentStore;
  /** This resolves when what the last crash put in doubt has been looked at, or cannot be. */
  verified(): Promise<void>;
}

/**
 * This opens a content store as a daemon has it: after a crash it serves at once, and blobs stored shortly before the crash are hashed
 * in the background. Damaged ones are moved aside, logged, and told by {@link ContentStore.watchLost}.
 */
export async function openContentStore(options: LocalContentStoreOptions): Promise<OpenContentStore> {
  const { root, log = silentLogger } = options;
  await using made = new AsyncDisposableStack();
  await mkdir(root, { recursive: true, mode: 0o755 });
  // Before anything can be written.
  const mark = made.use(await UncleanMark.open(root, log));
  const context = await openStoreContext({ ...options, onSynced: () => mark.refresh() });
  const stopping = new AbortController();
  const verified = mark.since === undefined ? Promise.resolve() : verify(mark.since);
  made.defer(async () => {
    stopping.abort();
    await verified;
  });
  const blobs = made.use(new OpenBlobs(IDLE_MS));
  const owned = made.move();
  return {
    store: new LocalContentStore(context, blobs),
    verified: () => verified,
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };

  async function verify(since: number): Promise<void> {
    try {
      if (await verifyBlobs(context, since, { signal: stopping.signal })) mark.settle();
    } catch (error) {
      // The mark stays: the next start looks again.
      if (!stopping.signal.aborted) log.error("failed to verify content", { error: messageOf(error) });
    }
  }
}
