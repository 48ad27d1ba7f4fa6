import { closeSync, openSync } from "node:fs";

/** Below the 4,096 bytes at which the kernel refuses a path; shorter, since each call walks the whole path. */
const LONG_PATH_BYTES = 1_000;
const SEPARATOR = Buffer.from("/");

/** This names an entry of a directory. Paths are bytes: names in images need not be UTF-8. */
export function joinBytes(directory: Buffer, name: Uint8Array): Buffer {
  return Buffer.concat([directory, SEPARATOR, name]);
}

/** An open directory from which paths begin, for as long as one needs it. */
interface Anchor {
  readonly descriptor: number;
  users: number;
}

/**
 * The path of a directory in a tree of any depth: where it would be too long for the kernel it begins at an open directory.
 * Walk with a stack of these, not with calls: a tree can be deeper than the stack of a thread.
 */
export class TreePath implements Disposable {
  #bytes: Buffer;
  #anchor: Anchor | undefined;

  private constructor(bytes: Buffer, anchor: Anchor | undefined) {
    this.#bytes = bytes;
    this.#anchor = anchor;
  }

  /** This begins a walk. */
  static top(path: string): TreePath {
    return new TreePath(Buffer.from(path), undefined);
  }

  /** A path of the directory, valid until this is disposed or shortened. */
  get bytes(): Buffer {
    return this.#bytes;
  }

  /** This makes the path short enough for names below it. Call it before listing. */
  shorten(): void {
    if (this.#bytes.length < LONG_PATH_BYTES) return;
    const descriptor = openSync(this.#bytes, "r");
    this.#release();
    this.#anchor = { descriptor, users: 1 };
    this.#bytes = Buffer.from(`/proc/self/fd/${descriptor}`);
  }

  /** This is the path of a directory in this one; to be disposed too. */
  child(name: Uint8Array): TreePath {
    if (this.#anchor !== undefined) this.#anchor.users += 1;
    return new TreePath(joinBytes(this.#bytes, name), this.#anchor);
  }

  [Symbol.dispose](): void {
    this.#release();
  }

  #release(): void {
    const anchor = this.#anchor;
    this.#anchor = undefined;
    if (anchor === undefined) return;
    anchor.users -= 1;
    if (anchor.users === 0) closeSync(anchor.descriptor);
  }
}
