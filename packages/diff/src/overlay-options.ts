import { readFileSync } from "node:fs";

/** Directories of an overlay, as its options name them. */
export interface OverlayDirectories {
  readonly upper: string | undefined;
  /** The nearest first. */
  readonly lowers: readonly string[];
}

/** This reads the directories in the options of an overlay. */
export function overlayDirectories(options: readonly string[]): OverlayDirectories {
  const lowers = optionValue(options, "lowerdir=");
  return { upper: optionValue(options, "upperdir="), lowers: lowers === undefined ? [] : splitLowers(lowers) };
}

function optionValue(options: readonly string[], prefix: string): string | undefined {
  return options.find((option) => option.startsWith(prefix))?.slice(prefix.length);
}

/** A colon, and a backslash, that belongs to a name has a backslash before it. */
function splitLowers(value: string): string[] {
  return (value.match(/(?:\\.|[^:\\])+/g) ?? []).map((path) => path.replaceAll(/\\(.)/g, "$1"));
}

/** This is the inverse of reading one of several lower directories. */
export function escapeLower(path: string): string {
  return path.replaceAll(/[:\\]/g, "\\$&");
}

let userNamespace: boolean | undefined;

/** This says whether the marks of overlayfs cannot be seen or made by hand here. */
export function inUserNamespace(): boolean {
  userNamespace ??= !/^\s*0\s+0\s+4294967295\s*$/.test(readFileSync("/proc/self/uid_map", "utf8"));
  return userNamespace;
}
