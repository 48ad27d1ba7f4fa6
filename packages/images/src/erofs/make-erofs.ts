import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { dirname } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";

import { decompress } from "@berth/archive";
import type { CallOptions } from "@berth/core/any";
import { type ContentProvider, streamBlob } from "@berth/core/content";
import { failedPrecondition, systemErrorCode, unknown } from "@berth/errors";
import { type Descriptor, type Digest, erofsUuid, formatDigest, withErofsBlocks } from "@berth/oci";

/** How `mkfs.erofs` is to make an image. */
export interface ErofsSettings {
  /** Compressors of blocks in the image: `lz4`, `zstd:level=3`; none when absent or empty. */
  readonly compressors?: string;
  /** Further options of the program. */
  readonly mkfsOptions?: readonly string[];
}

const PROGRAM = "mkfs.erofs";
/** Bytes that are compressed together. */
const CLUSTER = "65536";
/** Its help has to fit in. */
const OUTPUT_LIMIT = 64 * 1024;
const SHOWN_LIMIT = 500;

/**
 * This writes the EROFS image of a tar layer into a file, by `mkfs.erofs` on this machine. From version 1.8 of that on, the same layer gives the same
 * image, whatever its compression. What a failure leaves in the file is the caller's to remove; the program has ended by then.
 *
 * @throws failed_precondition - there is no mkfs.erofs that knows tar, or the blob is not the layer of `diffId`
 * @throws unknown - the program fails: a malformed archive, a full disk
 * @see containerd core/images/converter/erofs/erofs.go, ConvertLayerToErofs
 */
export async function makeErofs(
  content: ContentProvider,
  layer: Descriptor,
  diffId: Digest,
  path: string,
  { compressors = "", mkfsOptions = [], signal }: ErofsSettings & CallOptions,
): Promise<void> {
  const compressing = compressors === "" ? [] : [`-z${compressors}`, "-C", CLUSTER];
  const options = withErofsBlocks([...compressing, ...mkfsOptions]);
  const time = await timeOptions(mkfsOptions, { signal });
  const args = ["--tar=f", "--aufs", "--quiet", "-Enoinline_data", ...options, ...time, "-U", erofsUuid(diffId), path];
  const hash = createHash("sha256");
  async function* plain(): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const chunk of decompress(streamBlob(content, layer.digest, { signal }))) {
      hash.update(chunk);
      yield chunk;
    }
  }
  await runMkfs(args, plain(), { directory: dirname(path), signal });
  const found = formatDigest("sha256", hash.digest("hex"));
  if (found !== diffId) throw failedPrecondition(`layer ${layer.digest} unpacks to ${found}, not ${diffId}`);
}

/** The time at which the image is made would be in it. @throws failed_precondition */
async function timeOptions(mkfsOptions: readonly string[], { signal }: CallOptions): Promise<readonly string[]> {
  const help = await runMkfs(["--help"], [], { signal });
  if (!help.includes("--tar=")) throw failedPrecondition(`${PROGRAM} knows no tar: that comes with erofs-utils 1.7`);
  const isFree = !mkfsOptions.some((option) => option.startsWith("-T"));
  return isFree && help.includes("--mkfs-time") ? ["-T0", "--mkfs-time"] : [];
}

interface RunOptions extends CallOptions {
  /** For its temporary files. */
  readonly directory?: string;
}

/** This runs the program, which must succeed, and returns what it says. */
async function runMkfs(
  args: readonly string[],
  input: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  { directory, signal }: RunOptions,
): Promise<string> {
  signal?.throwIfAborted();
  const env = directory === undefined ? process.env : { ...process.env, TMPDIR: directory };
  const child = spawn(PROGRAM, args, { stdio: ["pipe", "pipe", "pipe"], env });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => (output = `${output}${text}`.slice(-OUTPUT_LIMIT)));
  }
  const source = new WatchedInput(input);
  const isBroken = (): boolean => source.failed || signal?.aborted === true;
  // Whichever fails first ends the other.
  const [fed, ended] = await Promise.allSettled([
    pipeline(Readable.from(source.read(), { objectMode: false }), child.stdin, { signal }).catch((error: unknown) => {
      if (isBroken()) child.kill("SIGKILL");
      throw error;
    }),
    once(child, "close"),
  ]);
  if (ended.status === "rejected") throw notRun(ended.reason);
  if (fed.status === "rejected" && isBroken()) throw signal?.aborted ? signal.reason : fed.reason;
  // What "close" comes with: an exit code, or a signal.
  const [code, by] = ended.value as [number | null, string | null];
  // Its own words say more than that it did not read all.
  const said = output.trim().replaceAll(/\s+/g, " ").slice(-SHOWN_LIMIT);
  if (code !== 0) throw unknown(`${PROGRAM} ended with ${by ?? `status ${code}`}: ${said}`);
  if (fed.status === "rejected") throw unknown(`${PROGRAM} did not read the layer to its end: ${said}`);
  return output;
}

/** Knows whether what is read has failed, or its reader: a pipe tells both alike. */
class WatchedInput {
  readonly #input: AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
  failed = false;

  constructor(input: AsyncIterable<Uint8Array> | Iterable<Uint8Array>) {
    this.#input = input;
  }

  async *read(): AsyncGenerator<Uint8Array, void, undefined> {
    let end = false;
    // What a reader throws into this arrives at the yield.
    let isReading = true;
    try {
      for await (const chunk of this.#input) {
        isReading = false;
        yield chunk;
        isReading = true;
      }
      end = true;
    } finally {
      this.failed = isReading && !end;
    }
  }
}

function notRun(error: unknown): unknown {
  return systemErrorCode(error) === "ENOENT"
    ? failedPrecondition(`${PROGRAM} is not installed: it comes with erofs-utils`, { cause: error })
    : error;
}
