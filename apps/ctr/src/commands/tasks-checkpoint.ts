import { resolve } from "node:path";

import { requireArgument } from "../cli/arguments.ts";
import { defineCommand } from "../cli/command.ts";
import { booleanFlag, stringFlag } from "../cli/flags.ts";
import { print } from "../output/print.ts";
import { endOnSignals } from "../process/interrupts.ts";

export const checkpoint = defineCommand({
  usage: "CONTAINER",
  description:
    "Writes down the processes of a container and their memory, which takes CRIU on the daemon's machine. Prints the name of the image that is made, unless --image-path names a directory.",
  flags: {
    exit: booleanFlag("end the processes afterwards"),
    "image-path": stringFlag("directory for CRIU's files, instead of an image"),
    "work-path": stringFlag("directory for CRIU's logs"),
  },
  async run({ flags, args, session }) {
    const id = requireArgument(args, 0, "container id must be provided");
    const { checkpointTask } = await import("@berth/client/checkpoint");
    using _signals = endOnSignals(session);
    const [imagePath, workPath] = [flags["image-path"], flags["work-path"]].map((path) =>
      path === "" ? "" : resolve(path),
    );
    const image = await checkpointTask(await session.client(), id, {
      exit: flags.exit,
      signal: session.signal,
      ...(imagePath !== undefined && { imagePath }),
      ...(workPath !== undefined && { workPath }),
    });
    if (image !== undefined) print(`${image.name}\n`);
  },
});
