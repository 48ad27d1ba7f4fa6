import { readdir } from "node:fs/promises";
import { join } from "node:path";

import type { CallOptions } from "@berth/core/any";
import type { Logger } from "@berth/core/log";
import { silentLogger } from "@berth/core/log";
import { runFilter } from "@berth/core/run-filter";
import type { ImageJudgement, ImageVerifier } from "@berth/core/transfer";
import { systemErrorCode, wrapError } from "@berth/errors";
import type { Descriptor } from "@berth/oci";
import { MediaType } from "@berth/oci";

/** More of a program's words is dropped. */
const MAX_REASON_BYTES = 32 * 1024;

/** Options of {@link directoryVerifier}. */
export interface DirectoryVerifierOptions {
  readonly directory: string;
  /** So many programs are asked, in the order of their names; negative for all. */
  readonly maxVerifiers: number;
  /** Of each of them. */
  readonly timeoutMs: number;
  readonly log?: Logger;
}

/**
 * This makes a verifier of the programs in a directory: all must accept an image. Without programs, or without the directory, every image
 * is accepted. Each gets the image's name and digest as arguments and its descriptor on standard input; it accepts by ending with 0.
 *
 * @see containerd pkg/imageverifier/bindir/bindir.go
 */
export function directoryVerifier(options: DirectoryVerifierOptions): ImageVerifier {
  const { directory, maxVerifiers, log = silentLogger } = options;
  return {
    async verify(name, descriptor, { signal } = {}) {
      const all = await programsOf(directory);
      const programs = maxVerifiers < 0 ? all : all.slice(0, maxVerifiers);
      if (programs.length < all.length)
        log.warn("image verifiers beyond max_verifiers are not asked", {
          directory,
          skipped: all.length - programs.length,
        });
      if (programs.length === 0) return { accepted: true, reason: "no image verifier" };
      const reasons: string[] = [];
      for (const program of programs) {
        const judgement = await ask(join(directory, program), name, descriptor, options, { signal });
        if (!judgement.accepted)
          return { accepted: false, reason: `verifier ${program} rejected image: ${judgement.reason}` };
        reasons.push(`${program} => ${judgement.reason}`);
      }
      return { accepted: true, reason: reasons.join(", ") };
    },
  };
}

async function programsOf(directory: string): Promise<readonly string[]> {
  try {
    const entries = await readdir(directory, { withFileTypes: true });
    return entries
      .filter((entry) => !entry.isDirectory())
      .map((entry) => entry.name)
      .sort();
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return [];
    throw wrapError(error, `list image verifiers of ${directory}`);
  }
}

async function ask(
  program: string,
  name: string,
  descriptor: Descriptor,
  { timeoutMs }: DirectoryVerifierOptions,
  { signal }: CallOptions,
): Promise<ImageJudgement> {
  const { mediaType, digest, size, annotations } = descriptor;
  const args = ["-name", name, "-digest", digest, "-stdin-media-type", MediaType.ociDescriptor];
  const input = JSON.stringify({ mediaType, digest, size, annotations });
  try {
    const limits = { timeoutMs, maxStdoutBytes: MAX_REASON_BYTES };
    const { code, stdout } = await runFilter(program, { args, input, signal, ...limits });
    return { accepted: code === 0, reason: stdout.trim() };
  } catch (error) {
    throw wrapError(error, `run image verifier ${program}`);
  }
}
