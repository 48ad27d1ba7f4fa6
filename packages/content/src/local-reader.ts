import type { CallOptions } from "@berth/core/any";
import type { ContentReader, ReadAtOptions } from "@berth/core/content";
import { dataLoss, failedPrecondition, invalidArgument } from "@berth/errors";

import type { OpenBlob } from "./open-blobs.ts";

/** What a reader tells the store. */
interface LocalReaderOptions {
  readonly path: string;
  /** The blob was read in one piece: these are its bytes. */
  readonly onWhole: (bytes: Uint8Array) => void;
  /** The reader is done with the file. */
  readonly release: () => Promise<void>;
}

/** Reads a blob through one descriptor, so that a blob deleted meanwhile can be read to its end. */
export class LocalReader implements ContentReader {
  readonly size: number;
  readonly localPath: string;
  readonly #options: LocalReaderOptions;
  #blob: OpenBlob | undefined;

  constructor(blob: OpenBlob, options: LocalReaderOptions) {
    this.#blob = blob;
    this.#options = options;
    this.size = blob.file.size;
    this.localPath = options.path;
  }

  async readAt(offset: number, length: number, options: ReadAtOptions = {}): Promise<Uint8Array> {
    options.signal?.throwIfAborted();
    const wanted = rangeLength(offset, length, this.size);
    const { into } = options;
    const isRoomy = into !== undefined && into.length >= wanted;
    // Not from Node's pool: the caller owns the bytes and may transfer them. Not zeroed: every byte is read over.
    const slab = isRoomy ? into : Buffer.allocUnsafeSlow(wanted);
    const bytes = new Uint8Array(slab.buffer, slab.byteOffset, wanted);
    for (let filled = 0; filled < wanted;) {
      if (this.#blob === undefined) throw failedPrecondition(`read ${this.localPath}: reader is closed`);
      const bytesRead = await this.#blob.file.read(bytes.subarray(filled), offset + filled);
      if (bytesRead === 0) throw dataLoss(`read ${this.localPath}: ends at ${offset + filled}, not at ${this.size}`);
      filled += bytesRead;
    }
    if (wanted === this.size) this.#options.onWhole(bytes);
    return bytes;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#blob === undefined) return;
    this.#blob = undefined;
    await this.#options.release();
  }
}

/** Reads a blob that is in memory. */
export class KeptReader implements ContentReader {
  readonly localPath: string;
  readonly #bytes: Uint8Array;
  #closed = false;

  constructor(bytes: Uint8Array, path: string) {
    this.#bytes = bytes;
    this.localPath = path;
  }

  get size(): number {
    return this.#bytes.length;
  }

  async readAt(offset: number, length: number, options: CallOptions = {}): Promise<Uint8Array> {
    options.signal?.throwIfAborted();
    const wanted = rangeLength(offset, length, this.size);
    if (this.#closed && wanted > 0) throw failedPrecondition(`read ${this.localPath}: reader is closed`);
    // a copy: the caller owns the bytes and may transfer them
    return this.#bytes.slice(offset, offset + wanted);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
  }
}

function rangeLength(offset: number, length: number, size: number): number {
  if (!(Number.isSafeInteger(offset) && offset >= 0 && Number.isSafeInteger(length) && length >= 0)) {
    throw invalidArgument(`read ${length} bytes at ${offset}: not a range`);
  }
  return Math.max(0, Math.min(length, size - offset));
}
