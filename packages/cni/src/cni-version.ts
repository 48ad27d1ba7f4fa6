import { invalidArgument } from "@berth/errors";

/** Versions of the specification whose configurations and results are understood, oldest first. */
export const CNI_VERSIONS = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] as const;

export type CniVersion = (typeof CNI_VERSIONS)[number];

/** What is spoken where a configuration names no version. */
export const OLDEST_VERSION: CniVersion = "0.1.0";
export const NEWEST_VERSION: CniVersion = "1.1.0";

/** This narrows to a version of the specification that is understood. */
export function isCniVersion(text: string): text is CniVersion {
  return CNI_VERSIONS.some((version) => version === text);
}

/** This tells whether version `a` is that of `b` or a later one. @throws invalid_argument - one is no version */
export function isAtLeast(a: string, b: string): boolean {
  return compareVersions(a, b) >= 0;
}

/** This orders versions such as `1.0`, `0.3.1`: negative if `a` is older. @throws invalid_argument - one is no version */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [partsOf(a), partsOf(b)];
  for (const [index, part] of left.entries()) {
    const difference = part - (right[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** Parts that are left out are 0; the empty version is the oldest. */
function partsOf(text: string): readonly number[] {
  const match = /^(\d{1,9})(?:\.(\d{1,9}))?(?:\.(\d{1,9}))?$/.exec(text === "" ? OLDEST_VERSION : text);
  if (match === null) throw invalidArgument(`invalid CNI version ${JSON.stringify(text)}`);
  return match.slice(1).map((part) => Number(part ?? 0));
}
