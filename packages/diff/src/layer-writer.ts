import { type BigIntStats, constants, ftruncateSync, writeSync } from "node:fs";

import type { TarHandlers, TarHeader } from "@berth/archive";
import { invalidArgument, systemErrorCode, wrapError } from "@berth/errors";
import {
  closeFd,
  linkat,
  makedev,
  mkdirat,
  mknodat,
  openat2,
  removeTree,
  symlinkat,
  utimensat,
} from "@berth/linux/files";

import {
  applyToDescriptor,
  applyToName,
  checkOwner,
  type EntryTimes,
  entryTimes,
  type Warn,
} from "./entry-metadata.ts";
import { type LayerRoot, type OpenDirectory, statIn } from "./layer-root.ts";
import { cleanPath, fromBytes, printable, splitPath, toNative } from "./native-name.ts";
import { parseWhiteout, type Whiteouts } from "./whiteouts.ts";

const NEW_FILE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
const DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
const MAX_DEVICE_MAJOR = 0xfff;
const MAX_DEVICE_MINOR = 0xf_ffff;
const SPECIAL_MODES = { char: constants.S_IFCHR, block: constants.S_IFBLK, fifo: constants.S_IFIFO } as const;

/** What these say is that the archive asks for something that cannot be; other errors are those of the machine. */
const FAULTS_OF_ARCHIVE: ReadonlySet<string | undefined> = new Set([
  "ENOENT",
  "ENOTDIR",
  "EISDIR",
  "EEXIST",
  "ELOOP",
  "EINVAL",
  "EXDEV",
  "ENAMETOOLONG",
  "EMLINK",
  "ERANGE",
]);

interface OpenFile {
  readonly fd: number;
  readonly directory: OpenDirectory;
  readonly base: string;
  readonly header: TarHeader;
}

/**
 * Makes files of the entries of an archive, below a root that it cannot leave. Every entry is taken apart from the names
 * in it and made relative to an open directory, without following a link in the last place.
 *
 * Owns an open file between `entry` and `endEntry`; the root belongs to the caller.
 *
 * @see containerd pkg/archive/tar.go, applyNaive
 */
export class LayerWriter implements TarHandlers, Disposable {
  readonly #root: LayerRoot;
  readonly #whiteouts: Whiteouts;
  readonly #warn: Warn;
  readonly #directoryTimes = new Map<string, EntryTimes>();
  #file: OpenFile | undefined;

  constructor(root: LayerRoot, whiteouts: Whiteouts, warn: Warn) {
    this.#root = root;
    this.#whiteouts = whiteouts;
    this.#warn = warn;
  }

  entry(header: TarHeader): void {
    try {
      this.#entry(header);
    } catch (error) {
      throw this.#explain(error, header);
    }
  }

  data(bytes: Uint8Array, offset: number): void {
    const file = this.#file;
    if (file === undefined) return;
    try {
      // A position only where there may be holes: without it the call is cheaper.
      let at = 0;
      while (at < bytes.length) {
        const position = file.header.sparse ? offset + at : null;
        at += writeSync(file.fd, bytes, at, bytes.length - at, position);
      }
    } catch (error) {
      throw this.#explain(error, file.header);
    }
  }

  endEntry(): void {
    const file = this.#file;
    if (file === undefined) return;
    this.#file = undefined;
    try {
      using closing = new DisposableStack();
      closing.defer(() => closeFd(file.fd));
      if (file.header.sparse) ftruncateSync(file.fd, file.header.size);
      applyToDescriptor(file.fd, file.header, this.#warn);
      const { access, modified } = entryTimes(file.header);
      utimensat(file.directory.fd, toNative(file.base), access, modified);
    } catch (error) {
      throw this.#explain(error, file.header);
    }
  }

  /** Sets the times of directories, which making files in them has changed. To be called once, behind the last entry. */
  finish(): void {
    for (const [path, times] of this.#directoryTimes) {
      this.#root.beginEntry();
      try {
        this.#setDirectoryTimes(path, times);
      } catch (error) {
        // A later entry put a file, or a link in a circle, where a directory above was.
        if (!["ENOTDIR", "ELOOP"].includes(systemErrorCode(error) ?? ""))
          throw wrapError(error, `apply ${printable(path)}`);
      }
    }
  }

  #setDirectoryTimes(path: string, { access, modified }: EntryTimes): void {
    const { directory, base } = splitPath(path);
    const parent = this.#root.findDirectory(directory);
    // Deleted or replaced by a later entry.
    if (parent === undefined || statIn(parent, base)?.isDirectory() !== true) return;
    utimensat(parent.fd, toNative(base), access, modified);
  }

  [Symbol.dispose](): void {
    if (this.#file !== undefined) closeFd(this.#file.fd);
    this.#file = undefined;
  }

  #explain(error: unknown, header: TarHeader): unknown {
    const doing = `apply ${printable(header.path)}`;
    if (!FAULTS_OF_ARCHIVE.has(systemErrorCode(error))) return wrapError(error, doing);
    return invalidArgument(`${doing}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }

  #entry(header: TarHeader): void {
    this.#root.beginEntry();
    const path = cleanPath(header.rawPath === undefined ? header.path : fromBytes(header.rawPath));
    if (path === "") return;
    if (path.includes("\0")) throw invalidArgument("the name holds a NUL");
    checkOwner(header);
    const { directory: directoryPath, base } = splitPath(path);
    const whiteout = parseWhiteout(base);
    const directory = this.#root.makeDirectory(directoryPath, this.#madeDirectory);
    if (whiteout?.kind === "opaque") this.#whiteouts.opaque(directory);
    else if (whiteout?.kind === "name") this.#whiteouts.hide(directory, whiteout.base, header);
    else {
      this.#make(directory, path, base, header);
      this.#whiteouts.unpacked(directory, base);
    }
  }

  readonly #madeDirectory = (path: string, lower: BigIntStats): void => {
    this.#directoryTimes.set(path, { access: lower.atimeNs, modified: lower.mtimeNs });
  };

  #make(directory: OpenDirectory, path: string, base: string, header: TarHeader): void {
    const name = toNative(base);
    switch (header.type) {
      case "file":
        this.#file = { fd: this.#createFile(directory, base), directory, base, header };
        return;
      case "directory":
        this.#createDirectory(directory, base, header);
        this.#directoryTimes.set(path, entryTimes(header));
        return;
      case "symlink": {
        const target = toNative(header.rawLinkPath === undefined ? header.linkPath : fromBytes(header.rawLinkPath));
        this.#replacing(directory, base, () => symlinkat(target, directory.fd, name));
        break;
      }
      case "link":
        // No attributes: they are those of the file, which has them from its own entry. Changing the owner, even to what it
        // is, would take its capabilities away.
        this.#createLink(directory, base, header);
        return;
      case "char":
      case "block":
      case "fifo":
        this.#createSpecial(directory, base, header, SPECIAL_MODES[header.type]);
        break;
      default:
        throw invalidArgument(`unhandled type ${JSON.stringify(header.typeflag)}`);
    }
    applyToName(directory, base, header, this.#warn);
  }

  /** Runs what makes a new name; where the name is taken, what has it is removed first. */
  #replacing<T>(directory: OpenDirectory, base: string, make: () => T): T {
    try {
      return make();
    } catch (error) {
      if (systemErrorCode(error) !== "EEXIST") throw error;
    }
    removeTree(directory.fd, toNative(base));
    this.#root.invalidate();
    return make();
  }

  #createFile(directory: OpenDirectory, base: string): number {
    const name = toNative(base);
    return this.#replacing(directory, base, () => openat2(directory.fd, name, { flags: NEW_FILE, mode: 0o600 }));
  }

  /** A directory that is there stays, and gets the entry's attributes. */
  #createDirectory(parent: OpenDirectory, base: string, header: TarHeader): void {
    const name = toNative(base);
    let replaced = false;
    try {
      mkdirat(parent.fd, name, 0o700);
    } catch (error) {
      if (systemErrorCode(error) !== "EEXIST") throw error;
      const there = statIn(parent, base);
      if (there?.isDirectory() !== true) {
        replaced = there !== undefined && this.#whiteouts.isMark(there);
        this.#replacing(parent, base, () => mkdirat(parent.fd, name, 0o700));
      }
    }
    using closing = new DisposableStack();
    const fd = openat2(parent.fd, name, { flags: DIRECTORY });
    closing.defer(() => closeFd(fd));
    // The mark hid what the layers below have at this name, and must go on doing so.
    if (replaced) this.#whiteouts.opaque({ fd, path: base });
    applyToDescriptor(fd, header, this.#warn);
  }

  /** The target is a name inside the root, whatever it says; one that is a symbolic link is linked itself. */
  #createLink(directory: OpenDirectory, base: string, header: TarHeader): void {
    const text = header.rawLinkPath === undefined ? header.linkPath : fromBytes(header.rawLinkPath);
    const target = splitPath(cleanPath(text));
    const from = target.base === "" ? undefined : this.#root.findDirectory(target.directory);
    if (from === undefined) throw invalidArgument(`link target ${printable(text)} is not there`);
    const targetName = toNative(target.base);
    if (this.#isSameName(from, target.base, directory, base)) return;
    this.#replacing(directory, base, () => linkat(from.fd, targetName, directory.fd, toNative(base)));
  }

  /** A link to itself must not be made by removing the target first. */
  #isSameName(from: OpenDirectory, target: string, to: OpenDirectory, base: string): boolean {
    return (
      target === base && this.#root.realPath(from) === this.#root.realPath(to) && statIn(from, target) !== undefined
    );
  }

  #createSpecial(directory: OpenDirectory, base: string, header: TarHeader, kind: number): void {
    const { deviceMajor, deviceMinor } = header;
    if (deviceMajor > MAX_DEVICE_MAJOR || deviceMinor > MAX_DEVICE_MINOR) {
      throw invalidArgument(`device number ${deviceMajor}:${deviceMinor} is out of range`);
    }
    const device = makedev(deviceMajor, deviceMinor);
    this.#replacing(directory, base, () => mknodat(directory.fd, toNative(base), kind | 0o600, device));
  }
}
