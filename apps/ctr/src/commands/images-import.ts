import type { Client } from "@berth/client";
import { startEarlyUnpack, unpackImage, type UnpackImageOptions } from "@berth/client/import";
import type { EarlyUnpack, ImportOptions, ImportResult } from "@berth/images";
import { describedFirst, hasFileSystem, importArchive } from "@berth/images";
import { invalidArgument, wrapError } from "@berth/errors";
import type { PlatformMatcher } from "@berth/oci";
import { allPlatforms, hostPlatform, only, onlyStrict, parsePlatform } from "@berth/oci";

import { parseLabels, requireArgument } from "../cli/arguments.ts";
import { defineCommand } from "../cli/command.ts";
import type { FlagValues } from "../cli/flags.ts";
import { booleanFlag, integerFlag, listFlag, stringFlag } from "../cli/flags.ts";
import { chooseSnapshotter } from "../cli/namespace-defaults.ts";
import { snapshotterFlag } from "../cli/shared-flags.ts";
import { print } from "../output/print.ts";
import { formatBar, ProgressLines } from "../output/progress.ts";
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
  local: booleanFlag("import through this program, not in the daemon"),
  "discard-unpacked-layers": booleanFlag("leave compressed layers to the garbage collector once unpacked"),
  "sync-fs": booleanFlag("answer only when what was unpacked has reached the disk"),
  "unpack-concurrency": integerFlag(
    "layers unpacked at once; as many as there are processors where the snapshotter can",
  ),
  snapshotter: snapshotterFlag,
  label: listFlag("label of the images, key=value"),
  "compress-blobs": booleanFlag("have the daemon compress the layers of a Docker archive that are not"),
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
    if (flags["discard-unpacked-layers"] && flags["no-unpack"])
      throw invalidArgument("--discard-unpacked-layers: nothing is unpacked with --no-unpack");
    await using archive = await openArchiveSource(path);
    using _signals = endOnSignals(session);
    const client = await session.client();
    const order: ImportOrder = { client, archive, flags, signal: session.signal };
    const byDaemon = await isForDaemon(order);
    try {
      await (byDaemon ? importByDaemon(order) : importHere(order));
    } catch (error) {
      throw wrapError(error, `import ${path}`);
    }
  },
});

interface ImportOrder {
  readonly client: Client;
  readonly archive: ArchiveSource;
  readonly flags: ImportFlags;
  readonly signal: AbortSignal;
}

/** The daemon imports, unless a flag asks for what only this program does, or it cannot. */
async function isForDaemon({ client, flags, signal }: ImportOrder): Promise<boolean> {
  const { local, "sync-fs": syncFs, "discard-unpacked-layers": discard, "unpack-concurrency": concurrency } = flags;
  if (local || syncFs || discard || concurrency !== 0) {
    if (!flags["compress-blobs"]) return false;
    throw invalidArgument("--compress-blobs is done by the daemon: leave out --local and what implies it");
  }
  const { hasTransferService } = await import("@berth/client/transfer");
  return await hasTransferService(client, { signal });
}

async function importByDaemon({ client, archive, flags, signal }: ImportOrder): Promise<void> {
  const { importInDaemon } = await import("@berth/client/transfer");
  const started = performance.now();
  const wanted = flags.platform === "" ? hostPlatform() : parsePlatform(flags.platform);
  const snapshotter = await chooseSnapshotter(client, flags.snapshotter, signal);
  using progress = new ProgressLines();
  let read = 0;
  // So that the daemon can unpack layers while they come.
  const ordered = archive.lookAhead && (await describedFirst(archive.lookAhead, { signal }));
  const chunks = counted({ ...archive, ...(ordered && { chunks: ordered }) }, progress, (bytes) => (read = bytes));
  await importInDaemon(client, chunks, {
    platforms: flags["all-platforms"] ? [] : [wanted],
    labels: parseLabels(flags.label),
    unpacks: flags["no-unpack"] ? [] : [{ platform: wanted, snapshotter }],
    compressLayers: flags["compress-blobs"],
    baseName: flags["base-name"] === "" ? `import-${new Date().toISOString().slice(0, 10)}` : flags["base-name"],
    onlyBaseName: flags["base-name"] !== "",
    signal,
    ...(flags.digests && { digestNames: flags["skip-digest-for-named"] ? "unnamed" : "all" }),
    ...(flags["index-name"] !== "" && { indexName: flags["index-name"] }),
    onProgress: ({ event, name, descriptor }) => {
      if (event !== "saved" || descriptor === undefined) return;
      progress.clear();
      print(flags["no-unpack"] ? `${name}\n` : `${name} saved: ${descriptor.digest}\n`);
    },
  });
  progress.clear();
  if (!flags["no-unpack"])
    print(`elapsed: ${((performance.now() - started) / 1000).toFixed(1)} s\ttotal: ${formatBinarySize(read)}\n`);
}

async function importHere({ client, archive, flags, signal }: ImportOrder): Promise<void> {
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

async function importWithProgress(archive: ArchiveSource, options: ImportOptions): Promise<ImportResult> {
  using progress = new ProgressLines();
  return await importArchive(counted(archive, progress), options);
}

/** The archive's bytes; how many have been taken is shown. */
async function* counted(
  { chunks, size }: ArchiveSource,
  progress: ProgressLines,
  onRead?: (bytes: number) => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  let read = 0;
  for await (const chunk of chunks) {
    read += chunk.length;
    onRead?.(read);
    progress.update(() =>
      size === undefined
        ? `importing ${formatBinarySize(read)}`
        : `importing ${formatBar(read, size)} ${formatBinarySize(read)}/${formatBinarySize(size)}`,
    );
    yield chunk;
  }
}

type ImportUnpack = UnpackImageOptions & Required<Pick<UnpackImageOptions, "platform">>;

async function unpackOptions(
  client: Client,
  flags: ImportFlags,
  { platform, signal }: { readonly platform: PlatformMatcher; readonly signal: AbortSignal },
): Promise<ImportUnpack> {
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
  { early, ...options }: ImportUnpack & { readonly early: EarlyUnpack | undefined },
): Promise<void> {
  const { platform, signal } = options;
  for (const { name, target } of images) {
    if (!(await hasFileSystem(client.content, target, platform, { signal }))) {
      print(`${name}\n`);
      continue;
    }
    print(`unpacking ${name} (${target.digest})...`);
    using progress = new ProgressLines();
    // What was begun while the archive was read.
    await early?.finish();
    let layers = 0;
    const onLayer = (): void => progress.update(() => `unpacked ${(layers += 1)} layers of ${name}`);
    await unpackImage(client, target, { ...options, onLayer });
    progress.clear();
    print("done\n");
  }
}
