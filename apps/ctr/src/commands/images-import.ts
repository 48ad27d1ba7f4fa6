import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";

import type { Client } from "@berth/client";
import { unpackImage } from "@berth/client/import";
import { invalidArgument, wrapError } from "@berth/errors";
import type { ImportOptions, ImportResult } from "@berth/images";
import { importArchive } from "@berth/images";
import type { PlatformMatcher } from "@berth/oci";
import { allPlatforms, hostPlatform, only, onlyStrict, parsePlatform } from "@berth/oci";

import { parseLabels, requireArgument } from "../cli/arguments.ts";
import { defineCommand } from "../cli/command.ts";
import type { FlagValues } from "../cli/flags.ts";
import { booleanFlag, listFlag, stringFlag, unsupportedFlag } from "../cli/flags.ts";
import { chooseSnapshotter } from "../cli/namespace-defaults.ts";
import { snapshotterFlag } from "../cli/shared-flags.ts";
import { print } from "../output/print.ts";
import { ProgressLine } from "../output/progress.ts";
import { formatBinarySize } from "../output/size.ts";
import { endOnSignals } from "../process/interrupts.ts";

const FLAGS = {
  "base-name": stringFlag("prefix of names that are bare tags; images with other names are left out"),
  digests: booleanFlag("name each image by its digest too"),
  "skip-digest-for-named": booleanFlag("with --digests: not those that have a name"),
  "index-name": stringFlag("name of the archive's index itself"),
  "all-platforms": booleanFlag("import and unpack every platform"),
  platform: stringFlag("import and unpack this platform, e.g. linux/arm64, instead of the host's"),
  "no-unpack": booleanFlag("do not unpack"),
  local: booleanFlag("import through this program; it always does"),
  "discard-unpacked-layers": booleanFlag("leave compressed layers to the garbage collector once unpacked"),
  "sync-fs": booleanFlag("answer only when what was unpacked has reached the disk"),
  snapshotter: snapshotterFlag,
  label: listFlag("label of the images, key=value"),
  "compress-blobs": unsupportedFlag("blobs are stored as the archive has them", "boolean"),
};

type ImportFlags = FlagValues<typeof FLAGS>;

export const importImages = defineCommand({
  usage: "<in>",
  description:
    "Reads an OCI layout or a Docker archive, compressed or not, from a file or, for -, from standard input.",
  examples: ["ctr images import alpine.tar", "docker save alpine | ctr images import -"],
  flags: FLAGS,
  async run({ flags, args, session }) {
    const path = requireArgument(args, 0, "no archive given: name a file, or - for standard input");
    const archive = await openArchive(path);
    using _signals = endOnSignals(session);
    const client = await session.client();
    const { signal } = session;
    const platform = platformOf(flags);
    await client.withLease(async (leased) => {
      const { images } = await importWithProgress(archive, {
        ...importOptions(flags, platform),
        content: leased.content,
        images: leased.images,
        signal,
      });
      if (flags["no-unpack"]) for (const { name } of images) print(`${name}\n`);
      else await unpackAll(leased, images, { flags, platform, signal });
    });
  },
});

interface Archive {
  readonly chunks: AsyncIterable<Uint8Array>;
  /** Not known of standard input. */
  readonly size?: number;
}

/** @throws not_found, permission_denied - the file */
async function openArchive(path: string): Promise<Archive> {
  if (path === "-") return { chunks: process.stdin };
  try {
    const stats = await stat(path);
    if (stats.isDirectory()) throw invalidArgument("is a directory, not an archive");
    return {
      chunks: createReadStream(path, { highWaterMark: 1 << 20 }),
      ...(stats.isFile() ? { size: stats.size } : {}),
    };
  } catch (error) {
    throw wrapError(error, `open ${path}`);
  }
}

function platformOf(flags: ImportFlags): PlatformMatcher {
  if (flags["all-platforms"]) return allPlatforms;
  return flags.platform === "" ? only(hostPlatform()) : onlyStrict(parsePlatform(flags.platform));
}

function importOptions(flags: ImportFlags, platform: PlatformMatcher): Omit<ImportOptions, "content" | "images"> {
  return {
    platform,
    digests: flags.digests,
    skipDigestForNamed: flags["skip-digest-for-named"],
    discardLayers: flags["discard-unpacked-layers"],
    labels: parseLabels(flags.label),
    // A platform that was asked for is all that the archive need hold.
    skipMissing: flags.platform !== "",
    ...(flags["base-name"] === "" ? {} : { baseName: flags["base-name"] }),
    ...(flags["index-name"] === "" ? {} : { indexName: flags["index-name"] }),
  };
}

async function importWithProgress({ chunks, size }: Archive, options: ImportOptions): Promise<ImportResult> {
  using progress = new ProgressLine();
  let read = 0;
  async function* counted(): AsyncIterable<Uint8Array> {
    for await (const chunk of chunks) {
      read += chunk.length;
      progress.update(
        () => `importing ${formatBinarySize(read)}${size === undefined ? "" : ` of ${formatBinarySize(size)}`}`,
      );
      yield chunk;
    }
  }
  return await importArchive(counted(), options);
}

interface UnpackContext {
  readonly flags: ImportFlags;
  readonly platform: PlatformMatcher;
  readonly signal: AbortSignal;
}

async function unpackAll(
  client: Client,
  images: ImportResult["images"],
  { flags, platform, signal }: UnpackContext,
): Promise<void> {
  const snapshotter = await chooseSnapshotter(client, flags.snapshotter, signal);
  for (const { name, target } of images) {
    print(`unpacking ${name} (${target.digest})...`);
    using progress = new ProgressLine();
    let layers = 0;
    await unpackImage(client, target, {
      snapshotter,
      platform,
      signal,
      ...(flags["sync-fs"] ? { syncFs: true } : {}),
      onLayer: () => progress.update(() => `unpacked ${(layers += 1)} layers of ${name}`),
    });
    progress.clear();
    print("done\n");
  }
}
