import { type BigIntStats, constants, lstatSync, readdirSync } from "node:fs";

import { systemErrorCode } from "@berth/errors";
import { AT_FDCWD, closeFd, descriptorPath, lfindxattr, openat2, readlinkat } from "@berth/linux/files";

const DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
/** Without waiting: a FIFO may have taken the place of the file that was seen. */
const FILE = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
const GONE: ReadonlySet<string | undefined> = new Set(["ENOENT", "ENOTDIR", "ELOOP"]);

/**
 * An open directory of a tree that is only looked at. Others may be changing the tree: every name is looked up in the open
 * directory and no link is followed, so that nothing outside the tree is ever seen. Owns a descriptor; use from one thread.
 *
 * Names are Latin-1: one character for each byte, so that they sort as bytes do, whatever they are.
 */
export class TreeDirectory implements Disposable {
  readonly fd: number;
  #open = true;

  private constructor(fd: number) {
    this.fd = fd;
  }

  /** This opens the root of a tree, where links in the path are followed. */
  static root(path: string): TreeDirectory {
    return new TreeDirectory(openat2(AT_FDCWD, path, { flags: constants.O_RDONLY | constants.O_DIRECTORY }));
  }

  /** Names in order of their bytes. */
  names(): string[] {
    return readdirSync(descriptorPath(this.fd), { encoding: "latin1" }).sort();
  }

  /** This looks at a name itself; `undefined` where there is none. */
  stat(name: string): BigIntStats | undefined {
    return lstatSync(this.#path(name), { bigint: true, throwIfNoEntry: false });
  }

  /** This opens a directory in this one, which the caller disposes; `undefined` where there is none. */
  enter(name: string): TreeDirectory | undefined {
    const fd = this.#openName(name, DIRECTORY);
    return fd === undefined ? undefined : new TreeDirectory(fd);
  }

  /** This opens a file, whose descriptor the caller closes; `undefined` where there is none. */
  openFile(name: string): number | undefined {
    return this.#openName(name, FILE);
  }

  /** The bytes of a link. */
  readLink(name: string): Uint8Array {
    return readlinkat(this.fd, nativeName(name));
  }

  /** An extended attribute of a name, or of this directory itself. */
  xattr(attribute: string, name?: string): Uint8Array | undefined {
    return lfindxattr(name === undefined ? this.fd : this.#path(name), attribute);
  }

  #openName(name: string, flags: number): number | undefined {
    try {
      return openat2(this.fd, nativeName(name), { flags });
    } catch (error) {
      if (GONE.has(systemErrorCode(error))) return undefined;
      throw error;
    }
  }

  #path(name: string): string | Buffer {
    return nativeName(descriptorPath(this.fd, name));
  }

  [Symbol.dispose](): void {
    if (this.#open) closeFd(this.fd);
    this.#open = false;
  }
}

/** This gives a Latin-1 name as system calls take it: text where that means the same bytes. */
function nativeName(latin1: string): string | Buffer {
  return /[\u0080-\u00ff]/.test(latin1) ? Buffer.from(latin1, "latin1") : latin1;
}
