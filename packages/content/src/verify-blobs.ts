import { stat } from "node:fs/promises";
import { Worker } from "node:worker_threads";

import type { CallOptions } from "@berth/core/any";
import { ignoreNotFound, internal } from "@berth/errors";
import type { Digest } from "@berth/oci";

import { blobPath } from "./blob-path.ts";
import type { StoreContext } from "./commit-blob.ts";
import type { HashJob, HashOutcome } from "./hash-job.ts";
import { listDigests } from "./list-digests.ts";

/** What a disk may have said to have before it had: so much older than the last sync is what is looked at too. */
const DOUBT_MS = 5 * 60_000;

/**
 * This hashes the blobs that were stored after `since`, and shortly before, in a thread of low priority. Damaged ones are moved aside and
 * reported: the store no longer has them, and they can be stored again. Readers and writers go on meanwhile.
 *
 * @returns whether every blob could be looked at
 */
export async function verifyBlobs(context: StoreContext, since: number, options: CallOptions = {}): Promise<boolean> {
  const jobs = await jobsSince(context, since - DOUBT_MS, options);
  const { log } = context;
  log.info("verifying content stored before an unclean stop", {
    blobs: jobs.length,
    since: new Date(since).toISOString(),
  });
  let complete = true;
  let damaged = 0;
  for await (const outcome of hashInThread(jobs, options)) {
    if (outcome.outcome === "unreadable") {
      complete = false;
      log.warn("blob cannot be verified", { digest: outcome.digest, error: outcome.reason });
    } else if (outcome.outcome === "damaged" && (await moveAside(context, outcome))) damaged += 1;
  }
  log.info("verified content", { blobs: jobs.length, damaged });
  return complete;
}

async function jobsSince({ paths, log }: StoreContext, from: number, options: CallOptions): Promise<HashJob[]> {
  const jobs: HashJob[] = [];
  for (const digest of await listDigests(paths, log)) {
    options.signal?.throwIfAborted();
    const path = blobPath(paths, digest);
    const file = await stat(path).catch(ignoreNotFound);
    if (file !== undefined && file.mtimeMs >= from) jobs.push({ path, digest });
  }
  return jobs;
}

/** A blob that was deleted and stored again while it was read is another file, and nothing was said about that one. */
async function moveAside(
  { paths, commits, lost, log }: StoreContext,
  { digest, inode, reason }: { readonly digest: Digest; readonly inode: number; readonly reason: string },
): Promise<boolean> {
  using _turn = await commits.acquire(digest);
  if ((await stat(blobPath(paths, digest)).catch(ignoreNotFound))?.ino !== inode) return false;
  const path = await lost.moveAside(digest);
  log.error("blob is damaged and was moved aside, it must be fetched again", { digest, path, error: reason });
  return true;
}

async function* hashInThread(jobs: readonly HashJob[], { signal }: CallOptions): AsyncIterable<HashOutcome> {
  if (jobs.length === 0) return;
  const worker = new Worker(workerUrl(), { name: "berth-hash", workerData: jobs });
  const outcomes: HashOutcome[] = [];
  let wake = Promise.withResolvers<void>();
  let ended = false;
  let failure: unknown;
  const end = (error?: unknown): void => {
    failure ??= error;
    ended = true;
    wake.resolve();
  };
  const stop = (): void => end(signal?.reason);
  worker.on("message", (outcome: HashOutcome) => {
    outcomes.push(outcome);
    wake.resolve();
  });
  worker.on("error", (error) => end(error));
  worker.on("exit", (code) => end(code === 0 ? undefined : internal(`thread that hashes blobs ended with ${code}`)));
  signal?.addEventListener("abort", stop, { once: true });
  try {
    while (!ended || outcomes.length > 0) {
      if (failure !== undefined) throw failure;
      const outcome = outcomes.shift();
      if (outcome !== undefined) {
        yield outcome;
        continue;
      }
      await wake.promise;
      wake = Promise.withResolvers<void>();
    }
    if (failure !== undefined) throw failure;
  } finally {
    signal?.removeEventListener("abort", stop);
    await worker.terminate();
  }
}

/** The thread's file beside this one, whichever form this one has: a source, compiled, bundled. */
function workerUrl(): URL {
  const extension = /\.[cm]?[jt]s$/.exec(new URL(import.meta.url).pathname)?.[0] ?? ".js";
  return new URL(`./hash-worker${extension}`, import.meta.url);
}
