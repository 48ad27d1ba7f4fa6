import { createDiff } from "@berth/client/create-diff";
import { streamBlob } from "@berth/core/content";
import { MediaType } from "@berth/oci";

import { parseLabels, requireArgument } from "../cli/arguments.ts";
import { defineCommand } from "../cli/command.ts";
import { booleanFlag, listFlag, stringFlag } from "../cli/flags.ts";
import { chooseSnapshotter } from "../cli/namespace-defaults.ts";
import { snapshotterFlag } from "../cli/shared-flags.ts";
import { sourceDateEpoch } from "../cli/source-date-epoch.ts";
import { isOutputClosed, printAndWait } from "../output/print.ts";
import { formatSecond } from "../output/time.ts";
import { endOnSignals } from "../process/interrupts.ts";

/** What somebody keeps by hand stays until they remove it by hand. */
const GC_ROOT = "containerd.io/gc.root";

export const diff = defineCommand({
  usage: "<key> [<other>]",
  description:
    "Without a second snapshot: against its parent. With two, the layer turns the first into the second. SOURCE_DATE_EPOCH limits the times in it.",
  examples: ["ctr snapshots diff --media-type application/vnd.oci.image.layer.v1.tar web | tar tv"],
  flags: {
    "media-type": stringFlag("media type of the layer, OCI tar+gzip unless given"),
    ref: stringFlag("ref under which the layer is written"),
    keep: booleanFlag("keep the layer in the content store"),
    label: listFlag("label of the layer, key=value"),
    snapshotter: snapshotterFlag,
  },
  async run({ flags, args, session }) {
    const first = requireArgument(args, 0, "snapshot id must be provided");
    const [lower, key] = args[1] === undefined ? [undefined, first] : [first, args[1]];
    using _signals = endOnSignals(session);
    const { signal } = session;
    const client = await session.client();
    const labels = parseLabels(flags.label);
    if (flags.keep) labels.set(GC_ROOT, formatSecond(Date.now()));
    const epoch = sourceDateEpoch();
    await client.withLease(async (leased) => {
      const { digest } = await createDiff(leased, key, {
        snapshotter: await chooseSnapshotter(client, flags.snapshotter, signal),
        mediaType: flags["media-type"] === "" ? MediaType.ociLayerGzip : flags["media-type"],
        labels,
        signal,
        ...(lower === undefined ? {} : { lower }),
        ...(flags.ref === "" ? {} : { ref: flags.ref }),
        ...epoch,
      });
      for await (const chunk of streamBlob(leased.content, digest, { signal })) {
        await printAndWait(chunk);
        if (isOutputClosed()) return;
      }
    });
  },
});
