import { unpackImage } from "@berth/client/import";
import { notFound } from "@berth/errors";
import { parseDigest } from "@berth/oci";

import { requireArgument } from "../cli/arguments.ts";
import { defineCommand } from "../cli/command.ts";
import { booleanFlag } from "../cli/flags.ts";
import { chooseSnapshotter } from "../cli/namespace-defaults.ts";
import { snapshotterFlag } from "../cli/shared-flags.ts";
import { print } from "../output/print.ts";
import { endOnSignals } from "../process/interrupts.ts";

export const unpack = defineCommand({
  usage: "<digest>",
  flags: {
    "sync-fs": booleanFlag("answer only when what was unpacked has reached the disk"),
    snapshotter: snapshotterFlag,
  },
  async run({ flags, args, session }) {
    const digest = parseDigest(requireArgument(args, 0, "please provide a manifest digest"));
    using _signals = endOnSignals(session);
    const client = await session.client();
    const { signal } = session;
    const images = await Array.fromAsync(client.images.list({ signal }));
    const image = images.find(({ target }) => target.digest === digest);
    if (image === undefined) throw notFound(`no image has the digest ${digest}`);
    const snapshotter = await chooseSnapshotter(client, flags.snapshotter, signal);
    print(`unpacking ${image.name} (${digest})...`);
    await unpackImage(client, image.target, { snapshotter, signal, ...(flags["sync-fs"] ? { syncFs: true } : {}) });
    print("done\n");
  },
});
