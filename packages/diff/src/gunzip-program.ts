import { constants } from "node:fs";
import { access } from "node:fs/promises";
import { delimiter, join } from "node:path";

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
export async function findGunzipProgram(
  environment: Readonly<Record<string, string | undefined>>,
): Promise<GunzipProgram | undefined> {
  for (const { name, args, disabledBy } of CANDIDATES) {
    if (TRUE.has(environment[disabledBy] ?? "")) continue;
    for (const directory of (environment["PATH"] ?? "").split(delimiter)) {
      // An empty or relative entry means the working directory, from where no program is taken.
      if (!directory.startsWith("/")) continue;
      const path = join(directory, name);
      if (await isExecutable(path)) return { path, args };
    }
  }
  return undefined;
}

async function isExecutable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}
