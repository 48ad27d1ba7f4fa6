import { invalidArgument } from "@berth/errors";

import { type HeaderBlock, type TarName, toName } from "./header-block.ts";
import { parsePaxNumber, parsePaxRecords, parsePaxTime } from "./pax-records.ts";
import { parseCommaNumbers, segmentsOf, type SparseSegment } from "./sparse-map.ts";
import { NO_XATTRS, type TarEntryType, type TarHeader, type TarTime } from "./tar-header.ts";

const XATTR_PREFIX = "SCHILY.xattr.";
/** Values that name something: a NUL in them would cut the name short further down. */
const NAME_KEYS: ReadonlySet<string> = new Set(["path", "linkpath", "uname", "gname", "GNU.sparse.name"]);

const ENTRY_TYPES: Readonly<Record<string, TarEntryType>> = {
  "0": "file",
  "1": "link",
  "2": "symlink",
  "3": "char",
  "4": "block",
  "5": "directory",
  "6": "fifo",
  "7": "file",
  S: "file",
};

/** What the extension headers before an entry said. */
export class ExtensionHeaders {
  #longName: Uint8Array | undefined;
  #longLink: Uint8Array | undefined;
  #pax: Map<string, Uint8Array> | undefined;
  #sparseNumbers: number[] = [];

  get present(): boolean {
    return this.#pax !== undefined || this.#longName !== undefined || this.#longLink !== undefined;
  }

  /** Takes the body of a header of type `L`, `K` or `x`; of several of one type the last one counts. */
  add(typeflag: string, body: Uint8Array): void {
    if (typeflag === "L") this.#longName = untilNul(body);
    else if (typeflag === "K") this.#longLink = untilNul(body);
    else this.#addPax(body);
  }

  #addPax(body: Uint8Array): void {
    this.#pax = new Map();
    this.#sparseNumbers = [];
    for (const { key, value } of parsePaxRecords(body)) {
      if (NAME_KEYS.has(key) && value.includes(0)) throw invalidArgument(`tar: PAX ${key} holds a NUL`);
      // PAX 0.0 repeats these two keys, once per segment, so that a map would lose all but the last.
      if (key === "GNU.sparse.offset" || key === "GNU.sparse.numbytes")
        this.#sparseNumbers.push(parsePaxNumber(value, key));
      else this.#pax.set(key, value);
    }
  }

  clear(): void {
    this.#longName = this.#longLink = this.#pax = undefined;
    this.#sparseNumbers = [];
  }

  /** Bytes of content in the archive for the entry of `block`; nothing follows the header of a link or device. */
  storedSize(block: HeaderBlock): number {
    const type = ENTRY_TYPES[block.typeflag];
    if (type !== "file" && type !== undefined) return 0;
    return this.#number("size") ?? block.size;
  }

  /** How a file's holes are recorded, and its size with them; `undefined` for one without holes (or old GNU's way). */
  sparse(block: HeaderBlock): { segments: SparseSegment[] | "inline"; size: number } | undefined {
    if (ENTRY_TYPES[block.typeflag] !== "file" || block.typeflag === "S" || this.#pax === undefined) return undefined;
    const major = this.#pax.get("GNU.sparse.major");
    if (major !== undefined && Buffer.from(major).toString() === "1") {
      const size = this.#number("GNU.sparse.realsize") ?? this.#number("GNU.sparse.size");
      if (size === undefined) throw invalidArgument("tar: sparse file without its real size");
      return { segments: "inline", size };
    }
    const map = this.#pax.get("GNU.sparse.map");
    const size = this.#number("GNU.sparse.size") ?? this.#number("GNU.sparse.realsize");
    if (size === undefined || (map === undefined && this.#sparseNumbers.length === 0)) return undefined;
    return { segments: segmentsOf(map === undefined ? this.#sparseNumbers : parseCommaNumbers(map)), size };
  }

  /** Makes the entry's header of its block and of what was added. */
  merge(block: HeaderBlock, size: number, sparse: boolean): TarHeader {
    const path = this.#name(this.#longName, "GNU.sparse.name", "path") ?? block.name;
    const linkPath = this.#name(this.#longLink, "linkpath") ?? block.linkName;
    const type = ENTRY_TYPES[block.typeflag] ?? "other";
    const isLink = type === "link" || type === "symlink";
    return {
      path: path.text,
      rawPath: path.raw,
      linkPath: isLink ? linkPath.text : "",
      rawLinkPath: isLink ? linkPath.raw : undefined,
      type,
      typeflag: block.typeflag,
      size,
      mode: block.mode & 0o7777,
      uid: this.#number("uid") ?? block.uid,
      gid: this.#number("gid") ?? block.gid,
      userName: this.#name(undefined, "uname")?.text ?? block.userName,
      groupName: this.#name(undefined, "gname")?.text ?? block.groupName,
      mtime: this.#time("mtime") ?? { seconds: block.mtimeSeconds, nanoseconds: 0 },
      atime: this.#time("atime") ?? wholeSeconds(block.atimeSeconds),
      ctime: this.#time("ctime") ?? wholeSeconds(block.ctimeSeconds),
      deviceMajor: block.deviceMajor,
      deviceMinor: block.deviceMinor,
      xattrs: this.#xattrs(),
      sparse,
    };
  }

  /** An empty value takes a record back: what the header block says counts again. */
  #value(key: string): Uint8Array | undefined {
    const value = this.#pax?.get(key);
    return value === undefined || value.length === 0 ? undefined : value;
  }

  #number(key: string): number | undefined {
    const value = this.#value(key);
    return value === undefined ? undefined : parsePaxNumber(value, key);
  }

  #time(key: string): TarTime | undefined {
    const value = this.#value(key);
    return value === undefined ? undefined : parsePaxTime(value, key);
  }

  #name(long: Uint8Array | undefined, ...keys: string[]): TarName | undefined {
    if (long !== undefined) return toName(long);
    for (const key of keys) {
      const value = this.#value(key);
      if (value !== undefined) return toName(value);
    }
    return undefined;
  }

  #xattrs(): ReadonlyMap<string, Uint8Array> {
    if (this.#pax === undefined) return NO_XATTRS;
    let xattrs: Map<string, Uint8Array> | undefined;
    for (const [key, value] of this.#pax) {
      if (key.startsWith(XATTR_PREFIX)) (xattrs ??= new Map()).set(key.slice(XATTR_PREFIX.length), value);
    }
    return xattrs ?? NO_XATTRS;
  }
}

function untilNul(bytes: Uint8Array): Uint8Array {
  const nul = bytes.indexOf(0);
  return nul < 0 ? bytes : bytes.subarray(0, nul);
}

function wholeSeconds(seconds: number | undefined): TarTime | undefined {
  return seconds === undefined ? undefined : { seconds, nanoseconds: 0 };
}
