import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { rm, stat } from "node:fs/promises";
import { pipeline } from "node:stream/promises";

import { wrapError } from "@berth/errors";

import { requireArgument } from "../cli/arguments.ts";
import { defineCommand } from "../cli/command.ts";
import { booleanFlag, listFlag } from "../cli/flags.ts";
import { platformsOf } from "../cli/platform-flags.ts";
import { isOutputClosed, printAndWait } from "../output/print.ts";
import { ProgressLine } from "../output/progress.ts";
import { formatBinarySize } from "../output/size.ts";
import { endOnSignals } from "../process/interrupts.ts";

export const exportImages = defineCommand({
  usage: "<out> <image> [<image>, ...]",
  description:
    "Writes a tar in the OCI layout, which Docker reads too, to a file or, for -, to standard output. The same images give the same bytes.",
  examples: ["ctr images export app.tar example.org/app:1", "ctr images export - example.org/app:1 | docker load"],
  flags: {
    "skip-manifest-json": booleanFlag("leave out manifest.json, by which Docker reads the archive"),
    "skip-non-distributable": booleanFlag("leave out layers that are not to be passed on, as those of Windows"),
    platform: listFlag("export this platform, e.g. linux/arm64, instead of the host's"),
    "all-platforms": booleanFlag("export every platform, all of which must have been fetched"),
    local: booleanFlag("export through this program; it always does"),
  },
  async run({ flags, args, session }) {
    const out = requireArgument(args, 0, "no output given: name a file, or - for standard output");
    requireArgument(args, 1, "no image given: name those to export");
    const { exportImages: exportFrom } = await import("@berth/client/export");
    using _signals = endOnSignals(session);
    const client = await session.client();
    const archive = exportFrom(client, args.slice(1), {
      signal: session.signal,
      skipDockerManifest: flags["skip-manifest-json"],
      skipNonDistributable: flags["skip-non-distributable"],
      ...(flags["all-platforms"] && flags.platform.length === 0 ? {} : { platform: platformsOf(flags) }),
    });
    await (out === "-" ? printAll(archive) : writeAll(archive, out, session.signal));
  },
});

async function printAll(archive: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const chunk of archive) {
    await printAndWait(chunk);
    if (isOutputClosed()) return;
  }
}

/** The file is made when the first bytes are there; one that did not become whole is removed. */
async function writeAll(archive: AsyncGenerator<Uint8Array, void>, path: string, signal: AbortSignal): Promise<void> {
  const first = await archive.next();
  if (first.done === true) return;
  using progress = new ProgressLine();
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
}

/** Devices and pipes are left alone. */
async function removeFile(path: string): Promise<void> {
  try {
    if ((await stat(path)).isFile()) await rm(path);
  } catch {
    // The error that led here tells more.
  }
}
