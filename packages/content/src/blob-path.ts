import { createHash } from "node:crypto";
import { join } from "node:path";

import { invalidArgument } from "@berth/errors";
import { type Digest, digestAlgorithm, digestHex } from "@berth/oci";

/** Where a store keeps its files; containerd's layout. */
export interface StorePaths {
  readonly root: string;
  /** `<root>/blobs` */
  readonly blobs: string;
  /** `<root>/ingest` */
  readonly ingests: string;
  /** `<root>/corrupt`: what is left of blobs that were found damaged. */
  readonly corrupt: string;
}

/** This lays out the directories of a store. */
export function storePaths(root: string): StorePaths {
  return { root, blobs: join(root, "blobs"), ingests: join(root, "ingest"), corrupt: join(root, "corrupt") };
}

/** This is the file of a blob. A digest is made of safe characters only, so that it cannot lead elsewhere. */
export function blobPath(paths: StorePaths, digest: Digest): string {
  return `${paths.blobs}/${digestAlgorithm(digest)}/${digestHex(digest)}`;
}

/**
 * This is the directory of an ingest. A ref is any text, therefore its hash is the name.
 *
 * @throws invalid_argument - the ref is empty, or is not text that UTF-8 can hold (two refs would share a directory)
 */
export function ingestPath(paths: StorePaths, ref: string): string {
  if (ref === "") throw invalidArgument("ref must not be empty");
  if (!ref.isWellFormed()) throw invalidArgument(`ref ${JSON.stringify(ref)} is not valid unicode`);
  return join(paths.ingests, ingestName(ref));
}

/** This is the name of the directory of a ref's ingest. */
export function ingestName(ref: string): string {
  return createHash("sha256").update(ref, "utf8").digest("hex");
}
