import type { ChildProcessByStdio } from "node:child_process";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { rm } from "node:fs/promises";
import { dirname } from "node:path";
import type { Readable, Writable } from "node:stream";

import { createTarReader, decompress, directoryHeaders, ImpliedDirectories, takesMore } from "@berth/archive";
import type { CallOptions } from "@berth/core/any";
import { childEnvironment } from "@berth/core/child-environment";
import { type ContentProvider, streamBlob } from "@berth/core/content";
import { deadlineExceeded, failedPrecondition, systemErrorCode, unknown } from "@berth/errors";
import { type Descriptor, type Digest, digestAlgorithm, erofsArguments, formatDigest, MKFS_EROFS_MS } from "@berth/oci";

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
 * image, whatever its compression. Directories that the layer only reaches through are 0755 of root. What a failure leaves in the file is the caller's to remove; the program has ended by then.
 *
 * @throws failed_precondition - there is no mkfs.erofs that knows tar, or the blob is not the layer of `diffId`
 * @throws invalid_argument, resource_exhausted - the layer is no archive, or one that costs too much
 * @throws unknown - the program fails: a malformed archive, a full disk; deadline_exceeded - it has not ended after an hour
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
  const options = [...compressing, ...mkfsOptions, ...(await timeOptions(mkfsOptions, { signal }))];
  const args = erofsArguments("f", path, { options, uuidOf: diffId });
  const algorithm = digestAlgorithm(diffId);
  const hash = createHash(algorithm);
  const implied = new ImpliedDirectories();
  const tar = createTarReader(implied);
  const make = async (directories: Iterable<Uint8Array>, see: (chunk: Uint8Array) => void): Promise<void> => {
    const archive = decompress(streamBlob(content, layer.digest, { signal }));
    await runMkfs(args, withDirectories(directories, archive, see), { directory: dirname(path), signal });
  };
  await make([], (chunk) => {
    hash.update(chunk);
    tar.write(chunk);
  });
  const found = formatDigest(algorithm, hash.digest("hex"));
  if (found !== diffId) throw failedPrecondition(`layer ${layer.digest} unpacks to ${found}, not ${diffId}`);
  if (implied.paths().next().done === true) return;
  // To the program a directory without a header is everybody's.
  await rm(path);
  await make(implied.paths(), () => {});
}

async function* withDirectories(
  directories: Iterable<Uint8Array>,
  archive: AsyncIterable<Uint8Array>,
  see: (chunk: Uint8Array) => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  yield* directoryHeaders(directories);
  for await (const chunk of archive) {
    see(chunk);
    yield chunk;
  }
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

/** This runs the program, which must succeed, and returns what it says. @throws deadline_exceeded; the reason of the signal */
async function runMkfs(
  args: readonly string[],
  input: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  { directory, signal }: RunOptions,
): Promise<string> {
  signal?.throwIfAborted();
  const env = { ...childEnvironment(), ...(directory === undefined ? {} : { TMPDIR: directory }) };
  const child = spawn(PROGRAM, args, { stdio: ["pipe", "pipe", "pipe"], env });
  // Without a process there may be no streams either.
  if (child.pid === undefined) throw notRun((await once(child, "error"))[0]);
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => (output = `${output}${text}`.slice(-OUTPUT_LIMIT)));
  }
  const kill = (): void => void child.kill("SIGKILL");
  using stop = killOn(signal, kill);
  const [fed, ended] = await Promise.allSettled([
    feed(child, input).catch((error: unknown) => {
      kill();
      throw error;
    }),
    once(child, "close"),
  ]);
  signal?.throwIfAborted();
  if (stop.isLate()) throw deadlineExceeded(`${PROGRAM} has not ended after ${MKFS_EROFS_MS / 60_000} minutes`);
  if (ended.status === "rejected") throw ended.reason;
  if (fed.status === "rejected") throw fed.reason;
  // What "close" comes with: an exit code, or a signal.
  const [code, by] = ended.value as [number | null, string | null];
  const said = output.trim().replaceAll(/\s+/g, " ").slice(-SHOWN_LIMIT);
  if (code !== 0) throw unknown(`${PROGRAM} ended with ${by ?? `status ${code}`}: ${said}`);
  return output;
}

/** This does `kill` when the signal is aborted, or in an hour, until it is disposed. */
function killOn(signal: AbortSignal | undefined, kill: () => void): Disposable & { isLate(): boolean } {
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    kill();
  }, MKFS_EROFS_MS);
  signal?.addEventListener("abort", kill, { once: true });
  return {
    isLate: () => late,
    [Symbol.dispose]() {
      clearTimeout(timer);
      signal?.removeEventListener("abort", kill);
    },
  };
}

/**
 * This gives the program its input, which is read to its end unless the program fails: behind the end of an archive there may be more, which the program leaves and which is part
 * of the layer all the same.
 */
async function feed(
  child: ChildProcessByStdio<Writable, Readable, Readable>,
  input: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): Promise<void> {
  const { stdin } = child;
  // How the program ends says why it takes no more.
  stdin.on("error", () => {});
  for await (const chunk of input) {
    if (child.signalCode !== null || (child.exitCode ?? 0) !== 0) return;
    if (!stdin.destroyed && !stdin.write(chunk)) await takesMore(stdin);
  }
  stdin.end();
}

function notRun(error: unknown): unknown {
  return systemErrorCode(error) === "ENOENT"
    ? failedPrecondition(`${PROGRAM} is not installed: it comes with erofs-utils`, { cause: error })
    : error;
}
