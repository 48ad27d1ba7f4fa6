import { defineCommand } from "../cli/command.ts";
import { unsupportedFlag } from "../cli/flags.ts";
import { CONTAINER_FLAGS } from "../process/container-flags.ts";
import { containerArguments, createFromFlags } from "../process/create-from-flags.ts";
import { endOnSignals } from "../process/interrupts.ts";

const NO_EFFECT = "there is no effect before a task is made: `run` and `tasks start` have it";

const flags = {
  ...CONTAINER_FLAGS,
  "pid-file": unsupportedFlag(NO_EFFECT),
  "no-pivot": unsupportedFlag(NO_EFFECT, "boolean"),
} as const;

export const create = defineCommand({
  usage: "Image|RootFS CONTAINER [COMMAND] [ARG...]",
  description: "Makes the container's record and snapshot; nothing runs until `ctr tasks start`.",
  examples: ["ctr containers create example.org/busybox:1 web httpd -f", "ctr tasks start -d web"],
  flags,
  async run({ flags: given, args, session }) {
    // Flags of the start of a task have no meaning here.
    const complete = { ...given, "pid-file": "", "no-pivot": false };
    const request = containerArguments(complete, args);
    using _signals = endOnSignals(session);
    await createFromFlags(await session.client(), complete, request, session.signal);
  },
});
