import { type FileHandle, open } from "node:fs/promises";

import type { CallOptions } from "@berth/core/any";
import type { ContentReader, ReadAtOptions } from "@berth/core/content";
import { dataLoss, failedPrecondition, invalidArgument } from "@berth/errors";

/** What is done with the bytes of a blob that was read in one piece. */
type OnWhole = (bytes: Uint8Array) => void;

/** Reads a blob through one descriptor, so that a blob deleted meanwhile can be read to its end. */
export class LocalReader implements ContentReader {
  readonly size: number;
  readonly localPath: string;
  readonly #onWhole: OnWhole;
  #file: FileHandle | undefined;

  private constructor(file: FileHandle, size: number, path: string, onWhole: OnWhole) {
    this.#file = file;
    this.size = size;
    this.localPath = path;
    this.#onWhole = onWhole;
  }

  /** This opens the file of a blob. @throws ENOENT */
  static async open(path: string, onWhole: OnWhole): Promise<LocalReader> {
    const file = await open(path, "r");
    try {
      return new LocalReader(file, (await file.stat()).size, path, onWhole);
    } catch (error) {
      await file.close();
      throw error;
    }
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
      if (this.#file === undefined) throw failedPrecondition(`read ${this.localPath}: reader is closed`);
      const { bytesRead } = await this.#file.read(bytes, filled, wanted - filled, offset + filled);
      if (bytesRead === 0) throw dataLoss(`read ${this.localPath}: ends at ${offset + filled}, not at ${this.size}`);
      filled += bytesRead;
    }
    if (wanted === this.size) this.#onWhole(bytes);
    return bytes;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.close();
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
