import { requireArgument } from "../cli/arguments.ts";
import { defineCommand } from "../cli/command.ts";
import { booleanFlag } from "../cli/flags.ts";
import { endOnSignals } from "../process/interrupts.ts";

export const checkpoint = defineCommand({
  usage: "CONTAINER REF",
  description:
    "Makes an image named REF of what a container is: its spec and runtime, and what the flags add. A running task stands still meanwhile. Only --task needs CRIU.",
  examples: [
    "ctr containers checkpoint --image --rw web example.org/web:saved",
    "ctr containers restore --rw web2 example.org/web:saved",
  ],
  flags: {
    rw: booleanFlag("with what the container has changed in its files"),
    image: booleanFlag("with the image that the container was made from"),
    task: booleanFlag("with its processes and their memory"),
  },
  async run({ flags, args, session }) {
    const id = requireArgument(args, 0, "container id must be provided");
    const name = requireArgument(args, 1, "ref must be provided");
    const { checkpointContainer } = await import("@berth/client/checkpoint");
    using _signals = endOnSignals(session);
    const { image, task, rw: files } = flags;
    await checkpointContainer(await session.client(), id, name, { image, task, files, signal: session.signal });
  },
});
