import { type BigIntStats, constants, fchmodSync, fstatSync, lstatSync, readlinkSync, type Stats } from "node:fs";

import { invalidArgument, systemErrorCode } from "@berth/errors";
import { AT_FDCWD, closeFd, descriptorPath, mkdirat, openat2, readlinkat } from "@berth/linux/files";

import { copyUpDirectory } from "./copy-up.ts";
import { LowerLayers, openInRoot } from "./lower-layers.ts";
import { cleanPath, fromBytes, printable, splitPath, toNative } from "./native-name.ts";

const DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY;
const MAX_OPEN_DIRECTORIES = 128;
/** As many links in a row as the kernel follows. */
const MAX_LINKS = 40;

/** An open directory inside the root. */
export interface OpenDirectory {
  readonly fd: number;
  /** The path by which it was asked for: clean, empty for the root. */
  readonly path: string;
}

/**
 * The directory a layer is applied to. Every path is resolved by the kernel as if this were `/`, so that no `..` and no
 * link can lead out of it, whatever another process does meanwhile. Owns descriptors; use from one thread.
 */
export class LayerRoot implements Disposable {
  readonly #root: OpenDirectory;
  readonly #lowers: LowerLayers;
  /** By path, the most recently used last. */
  readonly #open = new Map<string, OpenDirectory>();
  #stale = false;
  #disposed = false;
  #implied = 0;
  readonly #realRoot: string;

  /** @param lowers directories of the layers below, the nearest first: missing parents take after theirs */
  constructor(path: string, lowers: readonly string[] = []) {
    this.#root = { fd: openat2(AT_FDCWD, path, { flags: DIRECTORY }), path: "" };
    this.#lowers = new LowerLayers(lowers);
    this.#realRoot = this.#linkText(this.#root.fd);
  }

  /** To be called before each entry: from here on, directories handed out before may be closed. */
  beginEntry(): void {
    if (!this.#stale && this.#open.size <= MAX_OPEN_DIRECTORIES) return;
    for (const [path, directory] of this.#open) {
      if (!this.#stale && this.#open.size <= MAX_OPEN_DIRECTORIES) break;
      this.#open.delete(path);
      closeFd(directory.fd);
    }
    this.#stale = false;
  }

  /** Says that a name was removed or replaced, so that paths may lead elsewhere from the next entry on. */
  invalidate(): void {
    this.#stale = true;
  }

  /** Opens the directory at a clean path, through links inside the root, or gives `undefined` where there is none. */
  findDirectory(path: string): OpenDirectory | undefined {
    if (path === "") return this.#root;
    const known = this.#open.get(path);
    if (known !== undefined) {
      this.#open.delete(path);
      this.#open.set(path, known);
      return known;
    }
    const fd = openInRoot(this.#root.fd, path);
    if (fd === undefined) return undefined;
    const directory = { fd, path };
    this.#open.set(path, directory);
    return directory;
  }

  /**
   * Opens the directory at a clean path and makes what is missing of it, 0755 or as in the layers below.
   *
   * @throws invalid_argument - something in the path is no directory
   */
  makeDirectory(path: string, made: (path: string, lower: BigIntStats) => void, links = 0): OpenDirectory {
    const found = this.findDirectory(path);
    if (found !== undefined) return found;
    if (links > MAX_LINKS) throw invalidArgument(`too many links in ${printable(path)}`);
    const { directory, base } = splitPath(path);
    const parent = this.makeDirectory(directory, made, links);
    const name = toNative(base);
    try {
      mkdirat(parent.fd, name, 0o755);
    } catch (error) {
      if (systemErrorCode(error) !== "EEXIST") throw error;
      // It is there and yet no directory was found: a link whose target is missing, which is then made inside the root.
      const target = linkTarget(parent.fd, name, path);
      return this.makeDirectory(cleanPath(target.startsWith("/") ? target : `${directory}/${target}`), made, links + 1);
    }
    const created = this.findDirectory(path);
    if (created === undefined) throw invalidArgument(`${printable(path)} vanished while it was made`);
    const stat = this.#takeAfterLower(created);
    if (stat === undefined) {
      fchmodSync(created.fd, 0o755);
      this.#implied++;
    } else made(path, stat);
    return created;
  }

  /** How many directories were made that neither the archive nor a layer below describes. */
  get impliedDirectories(): number {
    return this.#implied;
  }

  #takeAfterLower(directory: OpenDirectory): BigIntStats | undefined {
    const fd = this.#lowers.open(directory.path);
    if (fd === undefined) return undefined;
    try {
      copyUpDirectory(fd, directory.fd);
      return fstatSync(fd, { bigint: true });
    } finally {
      closeFd(fd);
    }
  }

  /** The path of a directory below the root, links resolved; the same for all spellings. */
  realPath(directory: OpenDirectory): string {
    return this.#linkText(directory.fd).slice(this.#realRoot.length).replace(/^\//, "");
  }

  #linkText(fd: number): string {
    return fromBytes(readlinkSync(descriptorPath(fd), { encoding: "buffer" }));
  }

  [Symbol.dispose](): void {
    this.#stale = true;
    this.beginEntry();
    this.#lowers[Symbol.dispose]();
    if (this.#disposed) return;
    this.#disposed = true;
    closeFd(this.#root.fd);
  }
}

/** This gives a path for calls that take no descriptor; a link in its last place is not resolved by calls that do not follow. */
export function pathIn(directory: OpenDirectory, base: string): string | Buffer {
  const name = toNative(base);
  const prefix = `${descriptorPath(directory.fd)}/`;
  return typeof name === "string" ? prefix + name : Buffer.concat([Buffer.from(prefix), name]);
}

/** This looks at a name itself, not at what it links to; `undefined` where there is none. */
export function statIn(directory: OpenDirectory, base: string): Stats | undefined {
  return lstatSync(pathIn(directory, base), { throwIfNoEntry: false });
}

function linkTarget(parent: number, name: string | Buffer, path: string): string {
  try {
    return fromBytes(readlinkat(parent, name));
  } catch (error) {
    if (systemErrorCode(error) === "EINVAL") throw invalidArgument(`${printable(path)} is not a directory`);
    throw error;
  }
}
