import { spawn } from "node:child_process";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { once } from "node:events";

import type { CallOptions } from "@berth/core/any";
import type { Logger } from "@berth/core/log";
import { silentLogger } from "@berth/core/log";
import type { ImageJudgement, ImageVerifier } from "@berth/core/transfer";
import { deadlineExceeded, systemErrorCode, wrapError } from "@berth/errors";
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
  signal?.throwIfAborted();
  const { mediaType, digest, size } = descriptor;
  const args = ["-name", name, "-digest", digest, "-stdin-media-type", MediaType.ociDescriptor];
  const timeout = AbortSignal.timeout(timeoutMs);
  const limit = signal === undefined ? timeout : AbortSignal.any([signal, timeout]);
  // In a group of its own, so that what it has started ends with it.
  const child = spawn(program, args, { stdio: ["pipe", "pipe", "ignore"], detached: true });
  const kill = (): void => killGroup(child.pid);
  limit.addEventListener("abort", kill, { once: true });
  try {
    // It need not read what it is told.
    child.stdin.on("error", () => {});
    child.stdin.end(JSON.stringify({ mediaType, digest, size, annotations: descriptor.annotations }));
    const reason = collect(child.stdout);
    const [code] = (await once(child, "close")) as [number | null];
    signal?.throwIfAborted();
    if (timeout.aborted) throw deadlineExceeded(`${program} did not decide within ${timeoutMs} ms`);
    return { accepted: code === 0, reason: await reason };
  } catch (error) {
    throw wrapError(error, `run image verifier ${program}`);
  } finally {
    limit.removeEventListener("abort", kill);
  }
}

async function collect(output: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  let left = MAX_REASON_BYTES;
  for await (const chunk of output) {
    if (left > 0) chunks.push(chunk.subarray(0, left));
    left -= chunk.length;
  }
  return Buffer.concat(chunks).toString().trim();
}

function killGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // It has ended.
  }
}
