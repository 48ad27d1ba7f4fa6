import { resolve } from "node:path";

import type { Client } from "@berth/client";
import { invalidArgument } from "@berth/errors";
import { hasFileSystem, resolveImage } from "@berth/images";
import type { Descriptor, PlatformMatcher } from "@berth/oci";
import { formatPlatform, hostPlatform, parsePlatform } from "@berth/oci";

import { parseLabels } from "../cli/arguments.ts";
import { defineCommand } from "../cli/command.ts";
import type { FlagValues } from "../cli/flags.ts";
import { booleanFlag, integerFlag, listFlag } from "../cli/flags.ts";
import { requireReference } from "../cli/image-reference.ts";
import { chooseSnapshotter } from "../cli/namespace-defaults.ts";
import { platformsOf } from "../cli/platform-flags.ts";
import { withRegistryAdvice } from "../cli/registry-advice.ts";
import { credentialsOf, needsOwnConnection, openRegistry, REGISTRY_FLAGS } from "../cli/registry-flags.ts";
import { snapshotterFlag } from "../cli/shared-flags.ts";
import { print } from "../output/print.ts";
import { TransferProgress } from "../output/transfer-progress.ts";
import { endOnSignals } from "../process/interrupts.ts";

const FLAGS = {
  ...REGISTRY_FLAGS,
  snapshotter: snapshotterFlag,
  label: listFlag("label of the image, key=value"),
  platform: listFlag("pull for this platform, e.g. linux/arm64, instead of the host's"),
  "all-platforms": booleanFlag("pull for every platform; those of others are not unpacked"),
  "skip-metadata": booleanFlag("no effect: documents of other platforms are never pulled"),
  "print-chainid": booleanFlag("print the name of the snapshot that the image is unpacked to"),
  "max-concurrent-downloads": integerFlag("layers that are downloaded at once", { initial: 3 }),
  "no-unpack": booleanFlag("do not unpack"),
  local: booleanFlag("pull through this program, not in the daemon"),
  "discard-unpacked-layers": booleanFlag("leave compressed layers to the garbage collector once unpacked"),
  "sync-fs": booleanFlag("answer only when what was unpacked has reached the disk"),
};

type PullFlags = FlagValues<typeof FLAGS>;

export const pull = defineCommand({
  usage: "<ref>",
  description:
    "Downloads an image from its registry and unpacks it. The name is written in full: docker.io/library/alpine:latest.\nWhat is here already is not downloaded again, and a download that broke off goes on where it was.",
  examples: [
    "ctr images pull docker.io/library/alpine:latest",
    "ctr images pull --plain-http localhost:5000/app:1",
    "ctr images pull --user me:secret example.org/private/app:1",
  ],
  flags: FLAGS,
  async run({ flags, args, session }) {
    const name = requireReference(args, 0, "no image given: name one in full, like docker.io/library/alpine:latest");
    const platform = platformsOf(flags);
    const unpacking = !flags["no-unpack"] && !flags["all-platforms"];
    if (flags["discard-unpacked-layers"] && !unpacking)
      throw invalidArgument("--discard-unpacked-layers: nothing is unpacked with --no-unpack or --all-platforms");
    using _signals = endOnSignals(session);
    const client = await session.client();
    const { signal } = session;
    const snapshotter = await chooseSnapshotter(client, flags.snapshotter, signal);
    using progress = new TransferProgress("downloading");
    const order: PullOrder = { client, name, flags, platform, progress, signal, ...(unpacking && { snapshotter }) };
    const byDaemon = await isForDaemon(order);
    const target = await withRegistryAdvice(`pull ${name}`, () => (byDaemon ? pullByDaemon(order) : pullHere(order)));
    progress.finish();
    if (!unpacking || !(await hasFileSystem(client.content, target, platform, { signal }))) return;
    const image = await resolveImage(client.content, target, platform, { signal });
    print(`unpacked ${formatPlatform(image.config.platform)} ${target.digest}\n`);
    if (flags["print-chainid"]) print(`image chain ID: ${image.chainId}\n`);
  },
});

interface PullOrder {
  readonly client: Client;
  readonly name: string;
  readonly flags: PullFlags;
  readonly platform: PlatformMatcher;
  readonly progress: TransferProgress;
  /** Absent: not unpacked. */
  readonly snapshotter?: string;
  readonly signal: AbortSignal;
}

/** The daemon pulls, unless a flag asks for what only this program does, or it cannot. */
async function isForDaemon({ client, flags, signal }: PullOrder): Promise<boolean> {
  if (flags.local || flags["all-platforms"] || flags["sync-fs"] || flags["max-concurrent-downloads"] !== 3)
    return false;
  if (flags["discard-unpacked-layers"]) return false;
  if (flags.platform.length > 1 || needsOwnConnection(flags)) return false;
  const { hasTransferService } = await import("@berth/client/transfer");
  return await hasTransferService(client, { signal });
}

async function pullByDaemon({ client, name, flags, progress, snapshotter, signal }: PullOrder): Promise<Descriptor> {
  const { pullInDaemon } = await import("@berth/client/transfer");
  const platform = flags.platform.map(parsePlatform)[0] ?? hostPlatform();
  await pullInDaemon(client, name, {
    platforms: [platform],
    labels: parseLabels(flags.label),
    credentials: await credentialsOf(flags),
    plainHttp: flags["plain-http"],
    signal,
    ...(flags["hosts-dir"] !== "" && { hostDirectory: resolve(flags["hosts-dir"]) }),
    ...(snapshotter !== undefined && { unpacks: [{ platform, snapshotter }] }),
    onProgress: ({ event, descriptor, progress: bytes }) => {
      if (descriptor === undefined) return;
      if (event === "fetching image content") print(`${name} resolved: ${descriptor.digest}\n`);
      if (event === "downloading" || event === "complete") progress.reached(descriptor, bytes);
      if (event === "complete") progress.done(descriptor, "done");
      if (event === "already exists") progress.done(descriptor, "exists");
    },
  });
  return (await client.images.get(name, { signal })).target;
}

async function pullHere(order: PullOrder): Promise<Descriptor> {
  const { client, name, flags, platform, progress, snapshotter, signal } = order;
  await using registry = await openRegistry(flags);
  const { pullImage } = await import("@berth/client/pull");
  const { target } = await pullImage(client, registry, name, {
    platform,
    everyPlatform: flags["all-platforms"] || flags.platform.length > 1,
    labels: parseLabels(flags.label),
    concurrency: Math.max(1, flags["max-concurrent-downloads"]),
    signal,
    onResolved: ({ digest }) => print(`${name} resolved: ${digest}\n`),
    onProgress: (descriptor, offset) => progress.reached(descriptor, offset),
    onStored: (descriptor, state) => progress.done(descriptor, state === "exists" ? "exists" : "done"),
    ...(snapshotter !== undefined && {
      unpack: {
        snapshotter,
        discardLayers: flags["discard-unpacked-layers"],
        ...(flags["sync-fs"] && { syncFs: true }),
      },
    }),
  });
  return target;
}
