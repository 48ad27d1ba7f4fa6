/** What an entry of an archive is; `other` is a type flag that berth gives no meaning (`typeflag` says which). */
export type TarEntryType = "file" | "link" | "symlink" | "char" | "block" | "directory" | "fifo" | "other";

/** A point in time; `nanoseconds` is 0 … 999,999,999 and counts forward also before 1970. */
export interface TarTime {
  readonly seconds: number;
  readonly nanoseconds: number;
}

/**
 * One entry's metadata, extension headers merged in. Everything in it was written by whoever made the archive:
 * `path` and `linkPath` may hold `..`, start with `/` or name anything.
 */
export interface TarHeader {
  /** The name as text. Where its bytes are not UTF-8, `rawPath` has them and this is for display only. */
  readonly path: string;
  readonly rawPath: Uint8Array | undefined;
  /** The target of a link or symlink, empty for others. */
  readonly linkPath: string;
  readonly rawLinkPath: Uint8Array | undefined;
  readonly type: TarEntryType;
  /** The type flag as a character, `"0"` for the NUL of old archives. */
  readonly typeflag: string;
  /** Bytes of content, holes of a sparse file included; 0 for everything that has no content. */
  readonly size: number;
  /** Permission bits with setuid, setgid and sticky: 0 … 0o7777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly userName: string;
  readonly groupName: string;
  readonly mtime: TarTime;
  readonly atime: TarTime | undefined;
  readonly ctime: TarTime | undefined;
  /** Device numbers, 0 for all but `char` and `block`. */
  readonly deviceMajor: number;
  readonly deviceMinor: number;
  /** `SCHILY.xattr.*` records: name without the prefix, value byte for byte. */
  readonly xattrs: ReadonlyMap<string, Uint8Array>;
  /** The file was stored with holes: `data` will skip them. */
  readonly sparse: boolean;
}

/** Shared by all entries without extended attributes. */
export const NO_XATTRS: ReadonlyMap<string, Uint8Array> = new Map();
