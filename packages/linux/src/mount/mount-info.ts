import { readFileSync, realpathSync } from "node:fs";

/** One line of /proc/self/mountinfo. */
export interface MountInfo {
  readonly id: number;
  readonly parentId: number;
  readonly major: number;
  readonly minor: number;
  /** The directory of the file system that is seen at the mount point. */
  readonly root: string;
  readonly mountPoint: string;
  /** Options of this mount. */
  readonly options: readonly string[];
  /** `shared:1`, `master:2`, … */
  readonly propagation: readonly string[];
  readonly type: string;
  readonly source: string;
  /** Options of the file system. */
  readonly superOptions: readonly string[];
}

function unescape(field: string): string {
  return field.replaceAll(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}

function parseLine(line: string): MountInfo | undefined {
  const fields = line.split(" ");
  const separator = fields.indexOf("-", 6);
  if (separator === -1 || fields.length < separator + 3) return undefined;
  const [id = "", parentId = "", device = "", root = "", mountPoint = "", options = ""] = fields;
  const [major = "", minor = ""] = device.split(":");
  const [type = "", source = "", superOptions = ""] = fields.slice(separator + 1);
  return {
    id: Number(id),
    parentId: Number(parentId),
    major: Number(major),
    minor: Number(minor),
    root: unescape(root),
    mountPoint: unescape(mountPoint),
    options: options.split(","),
    propagation: fields.slice(6, separator),
    type: unescape(type),
    source: unescape(source),
    superOptions: superOptions === "" ? [] : unescape(superOptions).split(","),
  };
}

/** This parses the text of a mountinfo file; lines that are none are left out. */
export function parseMountInfo(text: string): MountInfo[] {
  return text
    .split("\n")
    .map(parseLine)
    .filter((mount) => mount !== undefined);
}

/** This returns the mounts that a process sees, parents before children. */
export function readMountInfo(pid: number | "self" = "self"): MountInfo[] {
  return parseMountInfo(readFileSync(`/proc/${pid}/mountinfo`, "utf8"));
}

/** This says whether something is mounted at a path, links followed; `false` where the path does not exist. */
export function isMountPoint(path: string): boolean {
  const real = findRealPath(path);
  return real !== undefined && readMountInfo().some((mount) => mount.mountPoint === real);
}

/** This says whether something is mounted at a path or below it, links followed; `false` where the path does not exist. */
export function isMountedBelow(path: string): boolean {
  const real = findRealPath(path);
  return real !== undefined && readMountInfo().some(({ mountPoint }) => `${mountPoint}/`.startsWith(`${real}/`));
}

function findRealPath(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
}
