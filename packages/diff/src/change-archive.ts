import { type BigIntStats, fstatSync, readSync } from "node:fs";

import { formatTarHeader, TAR_END_MARKER, type TarEntryInput, tarPadding, type TarTime } from "@berth/archive";
import { aborted, wrapError } from "@berth/errors";
import { closeFd, major, minor } from "@berth/linux/files";

import type { Warn } from "./entry-metadata.ts";
import { CAPABILITY_XATTR, type TreeFile } from "./same-file.ts";
import type { TreeDirectory } from "./tree-directory.ts";
import type { Change, ParentDirectory, Upserted } from "./walk-changes.ts";

const WHITEOUT_PREFIX = ".wh.";
const READ_BYTES = 1 << 20;
/** A deletion has no time of its own. */
const WHITEOUT_TIME = 0;

/** How an archive of changes is made. */
export interface ChangeArchiveOptions {
  /** No time is later than this; seconds since 1970. Whiteouts are of 1970 whatever it is. */
  readonly latestSeconds?: number | undefined;
  readonly warn: Warn;
}

/** A hard link whose file has not changed so far. */
interface WaitingLink {
  readonly path: string;
  readonly parents: readonly Parent[];
}

/** A directory that may have to be put before what is in it. */
interface Parent {
  readonly path: string;
  entry(): TarEntryInput;
}

/**
 * Turns changes into the layer that makes them: each as the bytes of its entries. Of the attributes only `security.capability` is
 * kept, of times only the whole seconds of the last modification. Directories on the way to a change come before it, once.
 *
 * @see containerd pkg/archive/tar.go, ChangeWriter
 */
export class ChangeArchive {
  readonly #latest: number | undefined;
  readonly #warn: Warn;
  readonly #written = new Set<string>();
  readonly #firstOfInode = new Map<string, string>();
  readonly #waiting = new Map<string, WaitingLink[]>();

  constructor({ latestSeconds, warn }: ChangeArchiveOptions) {
    this.#latest = latestSeconds;
    this.#warn = warn;
  }

  /** @throws aborted - a file became shorter, or went, while it was read */
  *add(change: Change): Generator<Uint8Array, void, undefined> {
    try {
      if (change.kind === "delete") yield* this.#whiteout(change.path, change.parents);
      else if (this.#canBeStored(change)) yield* this.#upsert(change);
    } catch (error) {
      throw wrapError(error, `archive ${printable(change.path)}`);
    }
  }

  end(): Uint8Array {
    return TAR_END_MARKER;
  }

  *#whiteout(path: string, parents: readonly ParentDirectory[]): Generator<Uint8Array, void, undefined> {
    const slash = path.lastIndexOf("/") + 1;
    yield* this.#parents(parents.map((parent) => this.#parent(parent)));
    yield formatTarHeader({
      path: bytesOf(`${path.slice(0, slash)}${WHITEOUT_PREFIX}${path.slice(slash)}`),
      type: "file",
      mode: 0,
      mtime: seconds(WHITEOUT_TIME),
    });
  }

  /** Sockets are nothing without who listens; a name that means a deletion would be one when it is applied. */
  #canBeStored({ path, file: { name, stat } }: Upserted): boolean {
    if (stat.isSocket()) return false;
    if (!name.startsWith(WHITEOUT_PREFIX)) return true;
    this.#warn({ message: "left out a name that means a deletion in a layer", path: printable(path), xattr: "" });
    return false;
  }

  *#upsert({ kind, path, parents, file }: Upserted): Generator<Uint8Array, void, undefined> {
    const inode = linkKey(file.stat);
    const first = inode === undefined ? undefined : this.#firstOfInode.get(inode);
    if (kind === "linked" && first === undefined) {
      const links = this.#waiting.get(inode ?? "") ?? [];
      links.push({ path, parents: parents.map((parent) => this.#parent(parent, { now: true })) });
      this.#waiting.set(inode ?? "", links);
      return;
    }
    const { stat } = file;
    const entry = this.#entry(path, stat, capabilityOf(file.directory, stat, file.name));
    yield* this.#parents(parents.map((parent) => this.#parent(parent)));
    if (stat.isDirectory()) this.#written.add(path);
    if (first !== undefined) return yield formatTarHeader(linkTo(entry, path, first));
    if (stat.isSymbolicLink()) yield formatTarHeader({ ...entry, linkPath: file.directory.readLink(file.name) });
    else yield formatTarHeader(entry);
    if (stat.isFile()) yield* content(file);
    if (inode === undefined) return;
    this.#firstOfInode.set(inode, path);
    yield* this.#links(entry, path, inode);
  }

  /** What turned out to be links to a file that has changed. */
  *#links(entry: TarEntryInput, path: string, inode: string): Generator<Uint8Array, void, undefined> {
    for (const link of this.#waiting.get(inode) ?? []) {
      yield* this.#parents(link.parents);
      yield formatTarHeader(linkTo(entry, link.path, path));
    }
    this.#waiting.delete(inode);
  }

  *#parents(parents: readonly Parent[]): Generator<Uint8Array, void, undefined> {
    for (const { path, entry } of parents) {
      if (this.#written.has(path)) continue;
      this.#written.add(path);
      yield formatTarHeader(entry());
    }
  }

  /** With `now` it is still true when the directory is closed. */
  #parent({ path, stat, directory }: ParentDirectory, { now = false } = {}): Parent {
    const entry = (): TarEntryInput => this.#entry(path, stat, capabilityOf(directory, stat));
    if (!now) return { path, entry };
    const made = entry();
    return { path, entry: () => made };
  }

  #entry(path: string, stat: BigIntStats, capability: Uint8Array | undefined): TarEntryInput {
    const type = typeOf(stat);
    const isDevice = type === "char" || type === "block";
    const modified =
      Number(stat.mtimeNs / 1_000_000_000n) - (stat.mtimeNs < 0n && stat.mtimeNs % 1_000_000_000n ? 1 : 0);
    return {
      path: bytesOf(type === "directory" ? `${path}/` : path),
      type,
      size: type === "file" ? Number(stat.size) : 0,
      mode: Number(stat.mode & 0o7777n),
      uid: Number(stat.uid),
      gid: Number(stat.gid),
      mtime: seconds(this.#latest === undefined ? modified : Math.min(modified, this.#latest)),
      ...(isDevice ? { deviceMajor: major(stat.rdev), deviceMinor: minor(stat.rdev) } : {}),
      ...(capability === undefined ? {} : { xattrs: new Map([[CAPABILITY_XATTR, capability]]) }),
    };
  }
}

function linkTo(entry: TarEntryInput, path: string, target: string): TarEntryInput {
  return { ...entry, path: bytesOf(path), type: "link", size: 0, linkPath: bytesOf(target) };
}

function linkKey(stat: BigIntStats): string | undefined {
  return stat.isDirectory() || stat.nlink < 2n ? undefined : `${stat.dev}:${stat.ino}`;
}

function capabilityOf(directory: TreeDirectory, stat: BigIntStats, name?: string): Uint8Array | undefined {
  if (!stat.isFile() && !stat.isDirectory()) return undefined;
  return directory.xattr(CAPABILITY_XATTR, name);
}

function typeOf(stat: BigIntStats): TarEntryInput["type"] {
  if (stat.isFile()) return "file";
  if (stat.isDirectory()) return "directory";
  if (stat.isSymbolicLink()) return "symlink";
  if (stat.isCharacterDevice()) return "char";
  return stat.isBlockDevice() ? "block" : "fifo";
}

/** As much as the header has said, and the zeros behind. */
function* content({ directory, name, stat }: TreeFile): Generator<Uint8Array, void, undefined> {
  const size = Number(stat.size);
  if (size === 0) return;
  const fd = directory.openFile(name);
  if (fd === undefined) throw aborted("it went while it was read");
  try {
    if (!fstatSync(fd).isFile()) throw aborted("something else took its place");
    for (let left = size; left > 0;) {
      const chunk = new Uint8Array(Math.min(left, READ_BYTES));
      const length = readSync(fd, chunk);
      if (length === 0) throw aborted(`it became shorter than ${size} bytes while it was read`);
      yield chunk.subarray(0, length);
      left -= length;
    }
  } finally {
    closeFd(fd);
  }
  yield tarPadding(size);
}

function seconds(count: number): TarTime {
  return { seconds: count, nanoseconds: 0 };
}

function bytesOf(latin1: string): Uint8Array {
  return Buffer.from(latin1, "latin1");
}

function printable(latin1: string): string {
  return JSON.stringify(Buffer.from(latin1, "latin1").toString());
}
