import type { Client } from "@berth/client";
import { startEarlyUnpack, unpackImage, type UnpackImageOptions } from "@berth/client/import";
import type { EarlyUnpack, ImportOptions, ImportResult } from "@berth/images";
import { importArchive } from "@berth/images";
import type { PlatformMatcher } from "@berth/oci";
import { allPlatforms, hostPlatform, only, onlyStrict, parsePlatform } from "@berth/oci";

import { parseLabels, requireArgument } from "../cli/arguments.ts";
import { defineCommand } from "../cli/command.ts";
import type { FlagValues } from "../cli/flags.ts";
import { booleanFlag, integerFlag, listFlag, stringFlag, unsupportedFlag } from "../cli/flags.ts";
import { chooseSnapshotter } from "../cli/namespace-defaults.ts";
import { snapshotterFlag } from "../cli/shared-flags.ts";
import { print } from "../output/print.ts";
import { ProgressLine } from "../output/progress.ts";
import { formatBinarySize } from "../output/size.ts";
import { endOnSignals } from "../process/interrupts.ts";
import { type ArchiveSource, openArchiveSource } from "./archive-source.ts";

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
  "unpack-concurrency": integerFlag(
    "layers unpacked at once; as many as there are processors where the snapshotter can",
  ),
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
    await using archive = await openArchiveSource(path);
    using _signals = endOnSignals(session);
    const client = await session.client();
    const { signal } = session;
    const platform = platformOf(flags);
    await client.withLease(async (leased) => {
      const unpacking = flags["no-unpack"] ? undefined : await unpackOptions(leased, flags, { platform, signal });
      await using early = unpacking && (await startEarlyUnpack(leased, archive.lookAhead, unpacking));
      const { images } = await importWithProgress(archive, {
        ...importOptions(flags, platform),
        content: leased.content,
        images: leased.images,
        signal,
        onBlob: (digest) => early?.stored(digest),
      });
      if (unpacking === undefined) for (const { name } of images) print(`${name}\n`);
      else await unpackAll(leased, images, { ...unpacking, early });
    });
  },
});

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

async function importWithProgress({ chunks, size }: ArchiveSource, options: ImportOptions): Promise<ImportResult> {
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

async function unpackOptions(
  client: Client,
  flags: ImportFlags,
  { platform, signal }: { readonly platform: PlatformMatcher; readonly signal: AbortSignal },
): Promise<UnpackImageOptions> {
  const concurrency = flags["unpack-concurrency"];
  return {
    snapshotter: await chooseSnapshotter(client, flags.snapshotter, signal),
    platform,
    signal,
    ...(concurrency > 0 ? { concurrency } : {}),
    ...(flags["sync-fs"] ? { syncFs: true } : {}),
  };
}

async function unpackAll(
  client: Client,
  images: ImportResult["images"],
  { early, ...options }: UnpackImageOptions & { readonly early: EarlyUnpack | undefined },
): Promise<void> {
  for (const { name, target } of images) {
    print(`unpacking ${name} (${target.digest})...`);
    using progress = new ProgressLine();
    // What was begun while the archive was read.
    await early?.finish();
    let layers = 0;
    const onLayer = (): void => progress.update(() => `unpacked ${(layers += 1)} layers of ${name}`);
    await unpackImage(client, target, { ...options, onLayer });
    progress.clear();
    print("done\n");
  }
}
