import { createContainersClient } from "@berth/client/containers";
import { createTasksClient } from "@berth/client/tasks";
import { invalidArgument } from "@berth/errors";

import { requireArgument } from "../cli/arguments.ts";
import { defineCommand } from "../cli/command.ts";
import { booleanFlag, stringFlag } from "../cli/flags.ts";
import { signalNumber } from "../process/signal-number.ts";

const STOP_SIGNAL_LABEL = "io.containerd.image.config.stop-signal";

export const kill = defineCommand({
  usage: "CONTAINER",
  examples: ["ctr tasks kill web", "ctr tasks kill -s KILL --all web"],
  flags: {
    signal: stringFlag("name or number of the signal (default: the image's stop signal, else SIGTERM)", {
      aliases: ["s"],
    }),
    "exec-id": stringFlag("send it to this exec instead"),
    all: booleanFlag("send it to every process of the container", { aliases: ["a"] }),
  },
  async run({ flags, args, session }) {
    const id = requireArgument(args, 0, "container id must be provided");
    const { "exec-id": execId, all } = flags;
    if (all && execId !== "") throw invalidArgument("specify an exec-id or all; not both");
    const given = flags.signal === "" ? undefined : signalNumber(flags.signal);
    const transport = session.transport();
    const { signal } = session;
    // Asked for in any case: it tells a container that is not there from one that does not run.
    const { labels } = await createContainersClient(transport).get(id, { signal });
    const number = given ?? signalNumber(labels.get(STOP_SIGNAL_LABEL) ?? "SIGTERM");
    await createTasksClient(transport).task(id).kill({ execId, signalNumber: number, all, signal });
  },
});
