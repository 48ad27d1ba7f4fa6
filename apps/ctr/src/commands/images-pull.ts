import { resolveImage } from "@berth/images";
import { formatPlatform } from "@berth/oci";

import { parseLabels, requireArgument } from "../cli/arguments.ts";
import { defineCommand } from "../cli/command.ts";
import { booleanFlag, integerFlag, listFlag } from "../cli/flags.ts";
import { chooseSnapshotter } from "../cli/namespace-defaults.ts";
import { platformsOf } from "../cli/platform-flags.ts";
import { openRegistry, REGISTRY_FLAGS } from "../cli/registry-flags.ts";
import { snapshotterFlag } from "../cli/shared-flags.ts";
import { print } from "../output/print.ts";
import { TransferProgress } from "../output/transfer-progress.ts";
import { endOnSignals } from "../process/interrupts.ts";

export const pull = defineCommand({
  usage: "<ref>",
  description:
    "Downloads an image from its registry and unpacks it. The name is written in full: docker.io/library/alpine:latest.\nWhat is here already is not downloaded again, and a download that broke off goes on where it was.",
  examples: [
    "ctr images pull docker.io/library/alpine:latest",
    "ctr images pull --plain-http localhost:5000/app:1",
    "ctr images pull --user me:secret example.org/private/app:1",
  ],
  flags: {
    ...REGISTRY_FLAGS,
    snapshotter: snapshotterFlag,
    label: listFlag("label of the image, key=value"),
    platform: listFlag("pull for this platform, e.g. linux/arm64, instead of the host's"),
    "all-platforms": booleanFlag("pull for every platform; those of others are not unpacked"),
    "skip-metadata": booleanFlag("no effect: documents of other platforms are never pulled"),
    "print-chainid": booleanFlag("print the name of the snapshot that the image is unpacked to"),
    "max-concurrent-downloads": integerFlag("layers that are downloaded at once", { initial: 3 }),
    "no-unpack": booleanFlag("do not unpack"),
    local: booleanFlag("pull through this program; it always does"),
    "sync-fs": booleanFlag("answer only when what was unpacked has reached the disk"),
  },
  async run({ flags, args, session }) {
    const name = requireArgument(args, 0, "no image given: name one in full, like docker.io/library/alpine:latest");
    const platform = platformsOf(flags);
    await using registry = await openRegistry(flags);
    using _signals = endOnSignals(session);
    const client = await session.client();
    const { signal } = session;
    const snapshotter = await chooseSnapshotter(client, flags.snapshotter, signal);
    const { pullImage } = await import("@berth/client/pull");
    using progress = new TransferProgress("pulling");
    const unpacking = !flags["no-unpack"] && !flags["all-platforms"];
    const { target } = await pullImage(client, registry, name, {
      platform,
      everyPlatform: flags["all-platforms"] || flags.platform.length > 1,
      labels: parseLabels(flags.label),
      concurrency: Math.max(1, flags["max-concurrent-downloads"]),
      signal,
      onResolved: ({ digest }) => print(`${name} resolved: ${digest}\n`),
      onProgress: (descriptor, offset) => progress.reached(descriptor, offset),
      onStored: (descriptor, state) => progress.done(descriptor, state === "exists" ? "exists" : "done"),
      ...(unpacking && { unpack: { snapshotter, ...(flags["sync-fs"] && { syncFs: true }) } }),
    });
    progress.finish();
    if (!unpacking) return;
    const image = await resolveImage(client.content, target, platform, { signal });
    print(`unpacked ${formatPlatform(image.config.platform)} ${target.digest}\n`);
    if (flags["print-chainid"]) print(`image chain ID: ${image.chainId}\n`);
  },
});
