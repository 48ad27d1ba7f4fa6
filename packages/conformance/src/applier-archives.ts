import {
  formatTarHeader,
  TAR_END_MARKER,
  type TarEntryInput,
  type TarEntryWithContent,
  tarPadding,
  writeTar,
} from "@berth/archive";
import type { ErrorClass } from "@berth/errors";

/** An archive that is odd or hostile, and what must become of it. */
export interface CorpusArchive {
  readonly name: string;
  /** What the layer below holds. */
  readonly lower?: readonly TarEntryWithContent[];
  readonly archive: readonly TarEntryWithContent[] | Uint8Array;
  readonly outcome: "ok" | ErrorClass;
  /** What is seen afterwards, as `path` or `path -> target` of a symbolic link or `path = first name` of a hard link. */
  readonly tree?: readonly string[];
}

const TIME = { seconds: 1_500_000_000, nanoseconds: 0 };
const BLOCK = 512;

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

/** A file whose content is its path, if nothing else is said. */
export const file = (path: string, rest: Partial<TarEntryWithContent> = {}): TarEntryWithContent => ({
  path,
  type: "file",
  mtime: TIME,
  content: bytes(path),
  ...rest,
});
export const directory = (path: string, rest: Partial<TarEntryWithContent> = {}): TarEntryWithContent => ({
  path: `${path}/`,
  type: "directory",
  mtime: TIME,
  ...rest,
});
export const symlink = (path: string, linkPath: string): TarEntryWithContent => ({
  path,
  type: "symlink",
  linkPath,
  mtime: TIME,
});
export const link = (path: string, linkPath: string): TarEntryWithContent => ({
  path,
  type: "link",
  linkPath,
  mtime: TIME,
});
export const empty = (path: string): TarEntryWithContent => file(path, { content: new Uint8Array() });

/** This makes an archive of entries. */
export async function tar(entries: Iterable<TarEntryWithContent>): Promise<Uint8Array> {
  return Buffer.concat(await Array.fromAsync(writeTar(entries)));
}

/** This joins parts of an archive; content is filled up to whole blocks. */
export function joined(...parts: readonly (Uint8Array | string)[]): Uint8Array {
  return Buffer.concat(
    parts.flatMap((part) => {
      const data = typeof part === "string" ? bytes(part) : part;
      return [data, tarPadding(data.length)];
    }),
  );
}

export const end = TAR_END_MARKER;

/** This makes a header whose fields are then overwritten, by offset; the checksum is right again afterwards. */
export function header(entry: TarEntryInput, fields: Readonly<Record<number, string | Uint8Array>> = {}): Uint8Array {
  const made = Buffer.from(formatTarHeader({ mtime: TIME, ...entry }));
  const block = made.subarray(made.length - BLOCK);
  for (const [offset, value] of Object.entries(fields)) block.set(Buffer.from(value), Number(offset));
  block.fill(0x20, 148, 156);
  let sum = 0;
  for (const byte of block) sum += byte;
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return made;
}

/** This makes a header of another type. */
export function typed(typeflag: string, entry: TarEntryInput): Uint8Array {
  return header(entry, { 156: typeflag });
}

/** This makes a PAX header of records. */
export function pax(records: Readonly<Record<string, string>>, typeflag = "x"): Uint8Array {
  const body = Object.entries(records)
    .map(([key, value]) => {
      const rest = Buffer.byteLength(` ${key}=${value}\n`);
      const digits = String(rest + String(rest).length).length;
      return `${rest + digits} ${key}=${value}\n`;
    })
    .join("");
  return joined(typed(typeflag, { path: "PaxHeaders/x", type: "file", size: Buffer.byteLength(body) }), body);
}
