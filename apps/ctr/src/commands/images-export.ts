import { once } from "node:events";
import { createWriteStream, fstatSync } from "node:fs";
import { rm, stat } from "node:fs/promises";
import { pipeline } from "node:stream/promises";

import type { Client } from "@berth/client";
import { wrapError } from "@berth/errors";
import type { PlatformMatcher } from "@berth/oci";
import { parsePlatform } from "@berth/oci";

import { requireArgument } from "../cli/arguments.ts";
import { defineCommand } from "../cli/command.ts";
import type { FlagValues } from "../cli/flags.ts";
import { booleanFlag, listFlag } from "../cli/flags.ts";
import { platformsOf } from "../cli/platform-flags.ts";
import { isOutputClosed, print, printAndWait } from "../output/print.ts";
import { ProgressLines } from "../output/progress.ts";
import { formatBinarySize } from "../output/size.ts";
import { endOnSignals } from "../process/interrupts.ts";

const FLAGS = {
  "skip-manifest-json": booleanFlag("leave out manifest.json, by which Docker reads the archive"),
  "skip-non-distributable": booleanFlag("leave out layers that are not to be passed on, as those of Windows"),
  platform: listFlag("export this platform, e.g. linux/arm64, instead of the host's"),
  "all-platforms": booleanFlag("export every platform, all of which must have been fetched"),
  local: booleanFlag("export through this program, not in the daemon"),
};

type ExportFlags = FlagValues<typeof FLAGS>;

export const exportImages = defineCommand({
  usage: "<out> <image> [<image>, ...]",
  description:
    "Writes a tar in the OCI layout, which Docker reads too, to a file or, for -, to standard output. The same images give the same bytes.",
  examples: ["ctr images export app.tar example.org/app:1", "ctr images export - example.org/app:1 | docker load"],
  flags: FLAGS,
  async run({ flags, args, session }) {
    const out = requireArgument(args, 0, "no output given: name a file, or - for standard output");
    requireArgument(args, 1, "no image given: name those to export");
    const platform = platformsOf(flags);
    using _signals = endOnSignals(session);
    const client = await session.client();
    const archive = (await isForDaemon(client, flags, session.signal)) ? byDaemon : fromHere;
    const bytes = archive({ client, names: args.slice(1), flags, platform, signal: session.signal });
    await (out === "-" ? printAll(bytes) : writeAll(bytes, out, session.signal));
  },
});

interface ExportOrder {
  readonly client: Client;
  readonly names: readonly string[];
  readonly flags: ExportFlags;
  readonly platform: PlatformMatcher;
  readonly signal: AbortSignal;
}

async function isForDaemon(client: Client, flags: ExportFlags, signal: AbortSignal): Promise<boolean> {
  if (flags.local) return false;
  const { hasTransferService } = await import("@berth/client/transfer");
  return await hasTransferService(client, { signal });
}

async function* byDaemon({ client, names, flags, signal }: ExportOrder): AsyncGenerator<Uint8Array, void> {
  const { exportFromDaemon } = await import("@berth/client/transfer");
  yield* exportFromDaemon(client, names, {
    signal,
    platforms: flags.platform.map(parsePlatform),
    allPlatforms: flags["all-platforms"],
    skipDockerManifest: flags["skip-manifest-json"],
    skipNonDistributable: flags["skip-non-distributable"],
  });
}

async function* fromHere({ client, names, flags, platform, signal }: ExportOrder): AsyncGenerator<Uint8Array, void> {
  const { exportImages: exportFrom } = await import("@berth/client/export");
  yield* exportFrom(client, names, {
    signal,
    skipDockerManifest: flags["skip-manifest-json"],
    skipNonDistributable: flags["skip-non-distributable"],
    ...(flags["all-platforms"] ? {} : { platform }),
  });
}

async function printAll(archive: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const chunk of archive) {
    await printAndWait(chunk);
    if (isOutputClosed()) return;
  }
}

/** The file is made when the first bytes are there; one that did not become whole is removed. At the end it is told. */
async function writeAll(archive: AsyncGenerator<Uint8Array, void>, path: string, signal: AbortSignal): Promise<void> {
  const first = await archive.next();
  if (first.done === true) return;
  using progress = new ProgressLines();
  let written = 0;
  async function* counted(start: Uint8Array): AsyncGenerator<Uint8Array, void> {
    for (
      let next: IteratorResult<Uint8Array, void> = { value: start, done: false };
      next.done !== true;
      next = await archive.next()
    ) {
      yield next.value;
      written += next.value.length;
      progress.update(() => `exporting ${formatBinarySize(written)}`);
    }
  }
  const file = createWriteStream(path, { highWaterMark: 1 << 20 });
  try {
    await once(file, "open", { signal });
    await pipeline(counted(first.value), file, { signal });
  } catch (error) {
    file.destroy();
    await removeFile(path);
    throw wrapError(error, `write ${path}`);
  }
  progress.clear();
  if (!(await isStandardOutput(path))) print(`${path} written\ttotal: ${formatBinarySize(written)}\n`);
}

/** As `/dev/stdout` is: there is the archive, which is to stay one. */
async function isStandardOutput(path: string): Promise<boolean> {
  const [file, output] = [await stat(path), fstatSync(1)];
  return file.dev === output.dev && file.ino === output.ino;
}

/** Devices and pipes are left alone. */
async function removeFile(path: string): Promise<void> {
  try {
    if ((await stat(path)).isFile()) await rm(path);
  } catch {
    // The error that led here tells more.
  }
}
