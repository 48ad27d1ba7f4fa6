import { type FileHandle, open } from "node:fs/promises";

/** Longer reads go to the file. */
const LONGEST_SMALL_READ = 64 * 1024;
const WINDOW_BYTES = 1024 * 1024;

/** Bytes of a file that were read ahead. */
interface Window {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/**
 * The open file of a blob, whose bytes never change. Small reads that follow one another are answered from what was read ahead: each
 * turn of the thread pool costs more than the copy of what it brings.
 */
export class BlobFile {
  readonly size: number;
  readonly #file: FileHandle;
  /** Memory of the window, which is filled again and again. */
  #memory: Uint8Array | undefined;
  #window: Window | undefined;
  #isFilling = false;
  /** Where the latest read ended. */
  #end = -1;

  private constructor(file: FileHandle, size: number) {
    this.#file = file;
    this.size = size;
  }

  /** @throws ENOENT */
  static async open(path: string): Promise<BlobFile> {
    const file = await open(path, "r");
    try {
      return new BlobFile(file, (await file.stat()).size);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** This puts what is at `offset` into `into`, and returns of how many bytes: fewer than fit, perhaps, and none at the end. */
  async read(into: Uint8Array, offset: number): Promise<number> {
    const follows = offset === this.#end;
    this.#end = offset + into.length;
    if (into.length > LONGEST_SMALL_READ) return await this.#readFile(into, offset);
    const copied = this.#copyWindow(into, offset);
    if (copied > 0 || !follows || this.#isFilling) return copied > 0 ? copied : await this.#readFile(into, offset);
    return await this.#fill(into, offset);
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  async #fill(into: Uint8Array, offset: number): Promise<number> {
    this.#isFilling = true;
    // whoever reads meanwhile must not see what is half written over
    this.#window = undefined;
    try {
      const memory = (this.#memory ??= new Uint8Array(WINDOW_BYTES));
      this.#window = { offset, bytes: memory.subarray(0, await this.#readFile(memory, offset)) };
      return this.#copyWindow(into, offset);
    } finally {
      this.#isFilling = false;
    }
  }

  #copyWindow(into: Uint8Array, offset: number): number {
    if (this.#window === undefined) return 0;
    const start = offset - this.#window.offset;
    if (start < 0 || start >= this.#window.bytes.length) return 0;
    const bytes = this.#window.bytes.subarray(start, start + into.length);
    into.set(bytes);
    return bytes.length;
  }

  async #readFile(into: Uint8Array, offset: number): Promise<number> {
    return (await this.#file.read(into, 0, into.length, offset)).bytesRead;
  }
}
