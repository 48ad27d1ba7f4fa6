import { findOnPath } from "@berth/linux/process";

import type { GunzipProgram } from "./layer-job.ts";

interface Candidate {
  readonly name: string;
  readonly args: readonly string[];
  /** A true value in this variable rules it out. */
  readonly disabledBy: string;
}

/** The fastest first. */
const CANDIDATES: readonly Candidate[] = [
  { name: "igzip", args: ["-d", "-c"], disabledBy: "CONTAINERD_DISABLE_IGZIP" },
  { name: "unpigz", args: ["-d", "-c"], disabledBy: "CONTAINERD_DISABLE_PIGZ" },
];
const TRUE = new Set(["1", "t", "T", "true", "TRUE", "True"]);

/**
 * This finds a program on PATH that gunzips faster than zlib does; `undefined` when there is none or it is switched off.
 *
 * @see containerd pkg/archive/compression/compression.go, gzipDecompress
 */
export function findGunzipProgram(
  environment: Readonly<Record<string, string | undefined>>,
): GunzipProgram | undefined {
  for (const { name, args, disabledBy } of CANDIDATES) {
    const path = TRUE.has(environment[disabledBy] ?? "") ? undefined : findOnPath(name, environment["PATH"] ?? "");
    if (path !== undefined) return { path, args };
  }
  return undefined;
}
