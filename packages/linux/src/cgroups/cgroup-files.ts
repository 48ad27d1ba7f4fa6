import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** What cgroup files write for "no limit" where a number belongs. */
export const NO_LIMIT = 0xffffffffffffffffn;

function codeOfError(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}

/** This reads a file of a cgroup; `undefined` where this kernel or this cgroup does not have it. */
export function readStat(directory: string, file: string): string | undefined {
  try {
    return readFileSync(join(directory, file), "utf8");
  } catch (error) {
    const code = codeOfError(error);
    // a file can also refuse to be read: limits of the root cgroup, pressure switched off, a controller going away
    if (code === "ENOENT" || code === "EOPNOTSUPP" || code === "ENODEV" || code === "EINVAL") return undefined;
    throw error;
  }
}

/** This parses an unsigned number, `max` as `noLimit`; anything else is 0. */
export function parseCount(text: string | undefined, noLimit: bigint = NO_LIMIT): bigint {
  const trimmed = text?.trim() ?? "";
  if (trimmed === "max") return noLimit;
  return /^\d{1,20}$/.test(trimmed) ? BigInt(trimmed) : 0n;
}

/** This reads a file that holds one number. */
export function readCount(directory: string, file: string, noLimit?: bigint): bigint {
  return parseCount(readStat(directory, file), noLimit);
}

/** This parses lines of `name number`. */
export function parseFlat(text: string | undefined): Map<string, bigint> {
  const values = new Map<string, bigint>();
  for (const line of text?.split("\n") ?? []) {
    const [name, value] = line.split(" ");
    if (name && value !== undefined) values.set(name, parseCount(value));
  }
  return values;
}

/** This returns a function that takes values out of lines of `name number`, 0 for what is not there. */
export function flatReader(directory: string, file: string): (name: string) => bigint {
  const values = parseFlat(readStat(directory, file));
  return (name) => values.get(name) ?? 0n;
}

/** One line of `key a=1 b=2`. */
export interface NestedLine {
  readonly key: string;
  readonly values: ReadonlyMap<string, string>;
}

/** This parses lines of `key a=1 b=2`. */
export function parseNested(text: string | undefined): NestedLine[] {
  return (text ?? "")
    .split("\n")
    .filter((line) => line.trim() !== "")
    .map((line) => {
      const [key = "", ...pairs] = line.trim().split(/\s+/);
      return { key, values: new Map(pairs.map((pair) => splitPair(pair))) };
    });
}

function splitPair(pair: string): [string, string] {
  const at = pair.indexOf("=");
  return at === -1 ? [pair, ""] : [pair.slice(0, at), pair.slice(at + 1)];
}

/** One RDMA device of a cgroup. */
export interface RdmaEntry {
  readonly device: string;
  readonly hcaHandles: number;
  readonly hcaObjects: number;
}

const NO_RDMA_LIMIT = 0xffffffff;

/** This parses rdma.current and rdma.max. */
export function parseRdma(text: string | undefined): RdmaEntry[] {
  const number = (value: string | undefined): number =>
    value === "max" ? NO_RDMA_LIMIT : Number.parseInt(value ?? "0", 10) >>> 0;
  return parseNested(text).map(({ key, values }) => ({
    device: key,
    hcaHandles: number(values.get("hca_handle")),
    hcaObjects: number(values.get("hca_object")),
  }));
}

/** This returns the sizes of huge pages that a cgroup accounts, as its files spell them (`2MB`, `1GB`). */
export function hugePageSizes(names: readonly string[], suffix: string): string[] {
  const pattern = new RegExp(`^hugetlb\\.([0-9]+[KMGT]B)\\.${suffix}$`);
  return names.flatMap((name) => pattern.exec(name)?.[1] ?? []).toSorted();
}

/** This returns the path of a block device by its number, empty where it is unknown. */
export function blockDevicePath(major: string, minor: string): string {
  const file = `/sys/dev/block/${major}:${minor}/uevent`;
  if (!existsSync(file)) return "";
  const name = /^DEVNAME=(.*)$/m.exec(readFileSync(file, "utf8"))?.[1];
  return name === undefined ? "" : `/dev/${name}`;
}
