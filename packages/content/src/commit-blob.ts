import { type FileHandle, stat, unlink } from "node:fs/promises";
import { dirname } from "node:path";

import type { CallOptions } from "@berth/core/any";
import type { ContentInfo } from "@berth/core/content";
import { noLabels } from "@berth/core/labels";
import type { Logger } from "@berth/core/log";
import { alreadyExists, ignoreNotFound, messageOf, wrapError } from "@berth/errors";
import type { Digest } from "@berth/oci";

import { blobPath, type StorePaths } from "./blob-path.ts";
import { makeDirectoryDurably, renameDurably } from "@berth/core/durable-files";
import { type IngestDirectory, removeIngest } from "./ingest-directory.ts";
import type { KeyedLock } from "@berth/core/keyed-lock";
import type { LostBlobs } from "./lost-blobs.ts";

/** What writers of one store share. */
export interface StoreContext {
  readonly paths: StorePaths;
  /** One commit per digest at a time, so that a second one answers already_exists only when the first is on disk. */
  readonly commits: KeyedLock;
  readonly lost: LostBlobs;
  /** Called when a blob has reached the disk. */
  readonly onSynced?: () => void;
  readonly log: Logger;
}

/** A finished ingest whose bytes were found to be those of `digest`. */
export interface FinishedIngest {
  readonly directory: IngestDirectory;
  readonly file: FileHandle;
  readonly digest: Digest;
  readonly size: number;
}

/**
 * This moves the data of a finished ingest to its place among the blobs. The caller closes the file.
 *
 * @throws already_exists - the blob is there and on disk; the ingest is removed
 */
export async function commitBlob(
  context: StoreContext,
  ingest: FinishedIngest,
  options: CallOptions = {},
): Promise<ContentInfo> {
  const { directory, digest, size } = ingest;
  const target = blobPath(context.paths, digest);
  const at = Date.now();
  await sealData(context, ingest, at);
  using _turn = await context.commits.acquire(digest, options);
  options.signal?.throwIfAborted();
  if ((await stat(target).catch(ignoreNotFound)) !== undefined) {
    await removeIngest(directory);
    throw alreadyExists(`content ${digest}`);
  }
  await makeDirectoryDurably(dirname(target));
  await publish(directory, target);
  context.onSynced?.();
  // The blob is safe: what is left of the ingest is only litter, and the next writer of the ref removes it.
  await Promise.all([removeIngest(directory), context.lost.foundAgain(digest)]).catch((error: unknown) => {
    context.log.warn("failed to clean up after commit", { path: directory.path, error: messageOf(error) });
  });
  return { digest, size, createdAt: at, updatedAt: at, labels: noLabels };
}

/** This gives the file the mode and times of a blob and puts bytes, mode and times on disk. */
async function sealData(context: StoreContext, ingest: FinishedIngest, at: number): Promise<void> {
  const { file } = ingest;
  const seconds = at / 1000;
  await file.chmod((await file.stat()).mode & 0o7777 & ~0o333);
  await file.utimes(seconds, seconds);
  await syncData(context, ingest);
}

/**
 * This puts the bytes of an ingest on disk. After a failure the kernel may call the lost pages clean, so a later sync would
 * succeed over missing bytes: the ingest is removed.
 */
export async function syncData(
  context: StoreContext,
  { directory, file }: Pick<FinishedIngest, "directory" | "file">,
): Promise<void> {
  try {
    await file.sync();
  } catch (error) {
    await removeIngest(directory).catch((failure: unknown) => {
      context.log.error("failed to remove ingest after failed sync", {
        path: directory.path,
        error: messageOf(failure),
      });
    });
    throw wrapError(error, `sync ${directory.data}`);
  }
}

async function publish(directory: IngestDirectory, target: string): Promise<void> {
  try {
    await renameDurably(directory.data, target);
  } catch (error) {
    // A name that may be lost by a crash must not be seen.
    await unlink(target).catch(() => {});
    throw error;
  }
}
