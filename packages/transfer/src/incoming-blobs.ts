import type { FileHandle } from "node:fs/promises";
import { open } from "node:fs/promises";

import type { CallOptions } from "@berth/core/any";
import type { ContentProvider, ContentReader } from "@berth/core/content";
import { raceSignal } from "@berth/core/race-signal";
import { dataLoss, systemErrorCode } from "@berth/errors";
import type { Descriptor, Digest } from "@berth/oci";

type Blob = Pick<Descriptor, "digest" | "size">;

/** A blob whose bytes are coming. */
interface Incoming {
  readonly path: string;
  readonly size: number;
  offset: number;
  isStored: boolean;
  /** Resolved and replaced when there are more bytes, of which there may be a billion chunks: nothing that lasts longer is waited for with it. */
  more: PromiseWithResolvers<void>;
}

/**
 * Blobs of one pull or import, readable while they are coming: a reader that has come to the end of what is there waits for more. The bytes
 * are read from the file that they are written to, so that a slow reader holds nothing up, and nothing is kept in memory. What has been
 * read before {@link IncomingBlobs.stored} resolves is not verified: nothing may be made of it for good.
 */
export class IncomingBlobs implements ContentProvider {
  readonly #content: ContentProvider;
  readonly #incoming = new Map<Digest, Incoming>();
  readonly #outcomes = new Map<Digest, PromiseWithResolvers<void>>();
  #failure: { readonly error: unknown } | undefined;
  #isWhole = false;

  constructor(content: ContentProvider) {
    this.#content = content;
  }

  /** Says that the bytes of a blob go to a file, so many of which are there. */
  begin({ digest, size }: Blob, path: string, offset: number): void {
    this.#incoming.set(digest, { path, size, offset, isStored: false, more: newMore() });
  }

  /** Says that so many bytes are there by now. */
  reached({ digest }: Pick<Blob, "digest">, offset: number): void {
    const blob = this.#incoming.get(digest);
    if (blob === undefined) return;
    blob.offset = offset;
    blob.more.resolve();
    blob.more = newMore();
  }

  /** Says that a blob is in the store, and so the right one. */
  complete(digest: Digest): void {
    const blob = this.#incoming.get(digest);
    if (blob !== undefined) {
      blob.isStored = true;
      blob.more.resolve();
      this.#incoming.delete(digest);
    }
    this.#outcomeOf(digest).resolve();
  }

  /** Says that all has come that ever will: a blob that was not among it is in the store, or nowhere, and nobody waits for it. */
  end(): void {
    this.#isWhole = true;
    for (const outcome of this.#outcomes.values()) outcome.resolve();
  }

  /** Says that nothing comes any more: readers of what is incomplete fail, also those who come later. */
  fail(error: unknown): void {
    this.#failure = { error };
    for (const [digest, { more }] of this.#incoming) {
      this.#outcomeOf(digest).reject(error);
      more.reject(error);
    }
    for (const outcome of this.#outcomes.values()) outcome.reject(error);
  }

  /** This resolves when the blob is in the store, or does not come. @throws the error that kept it from coming */
  async stored(digest: Digest, { signal }: CallOptions = {}): Promise<void> {
    await raceSignal(this.#outcomeOf(digest).promise, signal);
  }

  async reader(digest: Digest, options: CallOptions = {}): Promise<ContentReader> {
    const blob = this.#incoming.get(digest);
    if (blob === undefined) return this.#content.reader(digest, options);
    const file = await openIfThere(blob.path);
    if (file !== undefined) return follow(file, blob, digest);
    // It has become a blob since.
    await this.stored(digest, options);
    return this.#content.reader(digest, options);
  }

  #outcomeOf(digest: Digest): PromiseWithResolvers<void> {
    const known = this.#outcomes.get(digest);
    if (known !== undefined) return known;
    const outcome = Promise.withResolvers<void>();
    // Who waits for it is told; that nobody does is no failure.
    outcome.promise.catch(() => {});
    if (this.#failure !== undefined) outcome.reject(this.#failure.error);
    if (this.#isWhole) outcome.resolve();
    this.#outcomes.set(digest, outcome);
    return outcome;
  }
}

function follow(file: FileHandle, blob: Incoming, digest: Digest): ContentReader {
  const { size } = blob;
  return {
    size,
    async readAt(offset, length, { signal } = {}) {
      const wanted = Math.min(length, size - offset);
      if (wanted <= 0) return new Uint8Array();
      while (blob.offset < offset + wanted && !blob.isStored) await raceSignal(blob.more.promise, signal);
      const bytes = await readFully(file, offset, wanted);
      if (bytes.length < wanted) throw dataLoss(`${digest}: ${bytes.length} of ${wanted} bytes at ${offset}`);
      return bytes;
    },
    [Symbol.asyncDispose]: () => file.close(),
  };
}

function newMore(): PromiseWithResolvers<void> {
  const more = Promise.withResolvers<void>();
  // As below: a download may fail while nobody reads.
  more.promise.catch(() => {});
  return more;
}

async function openIfThere(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path);
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

async function readFully(file: FileHandle, offset: number, length: number): Promise<Uint8Array> {
  // All of it is written, and it has a buffer for itself, which can be given away.
  const bytes = new Uint8Array(Buffer.allocUnsafeSlow(length).buffer);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await file.read(bytes, filled, length - filled, offset + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return bytes.subarray(0, filled);
}
