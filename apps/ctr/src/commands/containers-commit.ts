import { invalidArgument } from "@berth/errors";
import { parseReference } from "@berth/oci";

import { parseLabels, requireArgument } from "../cli/arguments.ts";
import { defineCommand } from "../cli/command.ts";
import { booleanFlag, listFlag, stringFlag } from "../cli/flags.ts";
import { sourceDateEpoch } from "../cli/source-date-epoch.ts";
import { print } from "../output/print.ts";
import { endOnSignals } from "../process/interrupts.ts";

export const commit = defineCommand({
  usage: "CONTAINER REF",
  description:
    "Makes an image of a container's files: its own image, and what the container has changed as one more layer. A running task stands still while its files are read. SOURCE_DATE_EPOCH limits the times in the image.",
  examples: [
    "ctr containers commit --change 'CMD [\"nginx\"]' web example.org/web:2",
    "ctr containers commit --squash web example.org/web:flat",
  ],
  flags: {
    author: stringFlag("who made the image", { aliases: ["a"] }),
    message: stringFlag("what for", { aliases: ["m"] }),
    change: listFlag(
      "instruction of a Dockerfile: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR",
      {
        aliases: ["c"],
      },
    ),
    pause: booleanFlag("let a running task stand still meanwhile; --pause=false does not", {
      aliases: ["p"],
      initial: true,
    }),
    squash: booleanFlag("one layer with all files, also of a container whose image is not here any more"),
    compression: stringFlag("of the new layer: gzip, zstd or none", { initial: "gzip" }),
    label: listFlag("label of the image, key=value"),
  },
  async run({ flags, args, session }) {
    const id = requireArgument(args, 0, "container id must be provided");
    const name = requireArgument(args, 1, "no name given for the image");
    parseReference(name);
    const { commitContainer } = await import("@berth/client/commit");
    using _signals = endOnSignals(session);
    const { target } = await commitContainer(await session.client(), id, name, {
      signal: session.signal,
      pause: flags.pause,
      squash: flags.squash,
      compression: compressionOf(flags.compression),
      changes: flags.change,
      labels: parseLabels(flags.label),
      createdBy: `ctr containers commit ${id}`,
      ...(flags.author !== "" && { author: flags.author }),
      ...(flags.message !== "" && { message: flags.message }),
      ...sourceDateEpoch(),
    });
    print(`${target.digest}\n`);
  },
});

function compressionOf(text: string): "gzip" | "zstd" | "none" {
  if (text === "gzip" || text === "zstd" || text === "none") return text;
  throw invalidArgument(`unknown compression ${JSON.stringify(text)}: there is gzip, zstd and none`);
}
