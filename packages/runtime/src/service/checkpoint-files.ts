import { createReadStream } from "node:fs";
import { mkdtemp, open, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { readTar, writeTar } from "@berth/archive";
import type { TarEntryWithContent } from "@berth/archive";
import type { CallOptions } from "@berth/core/any";
import { type ContentStore, streamBlob } from "@berth/core/content";
import { invalidArgument, isAlreadyExists } from "@berth/errors";
import { type Digest, parseDigest } from "@berth/oci";

/** Media types of the two blobs of a checkpoint. @see containerd core/images/mediatypes.go */
export const CheckpointMediaType = {
  images: "application/vnd.containerd.container.criu.checkpoint.criu.tar",
  spec: "application/vnd.containerd.container.checkpoint.config.v1+proto",
} as const;

/** A directory of CRIU's images, removed when disposed. */
export interface CheckpointDirectory extends AsyncDisposable {
  readonly path: string;
}

export async function makeCheckpointDirectory(): Promise<CheckpointDirectory> {
  const path = await mkdtemp(join(tmpdir(), "ctrd-checkpoint-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

/** This stores bytes whose digest nobody knows yet; what is there already is fine. */
export async function storeBlob(
  store: ContentStore,
  ref: string,
  bytes: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  options: CallOptions,
): Promise<{ digest: Digest; size: number }> {
  await using writer = await store.writer(ref, options);
  let size = 0;
  for await (const chunk of bytes) {
    await writer.write(chunk, options);
    size += chunk.length;
  }
  const digest = await writer.digest(options);
  try {
    await writer.commit({ ...options, digest, size });
  } catch (error) {
    if (!isAlreadyExists(error)) throw error;
  }
  return { digest, size };
}

/** This makes the archive of a checkpoint's images; CRIU writes plain files, and no directories. */
export function packCheckpoint(directory: string): AsyncIterable<Uint8Array> {
  return writeTar(entriesOf(directory));
}

async function* entriesOf(directory: string): AsyncGenerator<TarEntryWithContent> {
  for (const name of (await readdir(directory)).toSorted()) {
    const path = join(directory, name);
    const { size, mode } = await stat(path);
    yield { path: name, type: "file", size, mode: mode & 0o777, content: createReadStream(path) };
  }
}

/**
 * This writes the images of a checkpoint into an empty directory.
 *
 * @throws invalid_argument - something in the archive is not a plain file at its top
 */
export async function unpackCheckpoint(
  store: ContentStore,
  digest: string,
  directory: string,
  options: CallOptions,
): Promise<void> {
  for await (const { header, content } of readTar(streamBlob(store, parseDigest(digest), options))) {
    const name = header.path.replace(/^\.\//, "").replace(/\/$/, "");
    if (header.type === "directory" && (name === "" || name === ".")) continue;
    // The blob may come from anywhere, and the shim reads these files as root.
    if (header.type !== "file" || name === "" || name === "." || name === ".." || /[/\0]/.test(name)) {
      throw invalidArgument(`checkpoint ${digest}: ${header.type} ${JSON.stringify(header.path)} is no image of CRIU`);
    }
    await using file = await open(join(directory, name), "wx", 0o600);
    for await (const chunk of content) await file.writeFile(chunk);
  }
}
