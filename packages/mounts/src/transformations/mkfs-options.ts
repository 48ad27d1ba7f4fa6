import { invalidArgument } from "@berth/errors";

/** The file system that options ask for. */
export interface WantedFileSystem {
  readonly type: "ext2" | "ext3" | "ext4" | "xfs";
  readonly sizeBytes: number;
  readonly uuid: string | undefined;
}

const PREFIX = "X-containerd.mkfs.";
const TYPES = ["ext2", "ext3", "ext4", "xfs"] as const;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const SIZE = /^(\d{1,16}(?:\.\d{1,6})?) ?(?:([kmgtp])i?)?b?$/i;
const UNITS = "kmgtp";

/**
 * This takes the options for making a file system from those of a mount. Sizes have containerd's form: a number, and a unit that
 * counts in 1024, `512MiB`, `10g`.
 *
 * @throws invalid_argument - no size, an option that is not known, or a value that is none
 */
export function parseMkfsOptions(all: readonly string[]): {
  readonly options: readonly string[];
  readonly wanted: WantedFileSystem;
} {
  const values = new Map<string, string>();
  for (const option of all) {
    if (!option.startsWith(PREFIX)) continue;
    const at = option.indexOf("=");
    const key = option.slice(PREFIX.length, at === -1 ? undefined : at);
    if (at === -1 || !["size", "fs", "uuid"].includes(key))
      throw invalidArgument(`mount option ${quote(option)} is not known`);
    values.set(key, option.slice(at + 1));
  }
  const { size, fs = "ext4", uuid } = Object.fromEntries(values);
  if (size === undefined) throw invalidArgument(`making a file system needs the mount option ${PREFIX}size`);
  const type = TYPES.find((each) => each === fs);
  if (type === undefined) throw invalidArgument(`file system ${quote(fs)} cannot be made, only ${TYPES.join(", ")}`);
  if (uuid !== undefined && !UUID.test(uuid)) throw invalidArgument(`${quote(uuid)} is no UUID`);
  const options = all.filter((option) => !option.startsWith(PREFIX));
  return { options, wanted: { type, sizeBytes: parseSize(size), uuid } };
}

function parseSize(text: string): number {
  const [, number, unit] = SIZE.exec(text) ?? [];
  const factor = unit === undefined ? 1 : 1024 ** (UNITS.indexOf(unit.toLowerCase()) + 1);
  const size = Math.trunc(Number(number ?? "x") * factor);
  if (!Number.isSafeInteger(size) || size <= 0) throw invalidArgument(`${quote(text)} is no size`);
  return size;
}

function quote(text: string): string {
  return JSON.stringify(text.length > 200 ? `${text.slice(0, 200)}…` : text);
}
