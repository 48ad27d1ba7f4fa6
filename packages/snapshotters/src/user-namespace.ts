import { readFile } from "node:fs/promises";
import { release } from "node:os";

/** This says whether this process is in a user namespace other than the first, by the map that only the first has. */
export async function inUserNamespace(): Promise<boolean> {
  const [first = "", ...more] = (await readFile("/proc/self/uid_map", "utf8")).trim().split("\n");
  return more.length > 0 || first.trim().split(/\s+/).join(" ") !== "0 0 4294967295";
}

/** This says whether the kernel is at least of a version. */
export function kernelAtLeast(major: number, minor: number, version = release()): boolean {
  const [, actualMajor = 0, actualMinor = 0] = (/^(\d+)\.(\d+)/.exec(version) ?? []).map(Number);
  return actualMajor > major || (actualMajor === major && actualMinor >= minor);
}
