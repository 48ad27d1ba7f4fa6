import { invalidArgument } from "@berth/errors";

import { requireArgument } from "../cli/arguments.ts";
import { defineCommand } from "../cli/command.ts";
import { deleteTask } from "../process/delete-task.ts";

import { endSession } from "../process/process-io.ts";
import { ProcessSignals } from "../process/process-signals.ts";
import { rawModeFor } from "../process/run-task.ts";
import { StandardStreams } from "../process/standard-streams.ts";
import { followWindowSize } from "../process/terminal.ts";

export const attach = defineCommand({
  usage: "CONTAINER",
  description:
    "For tasks that were started with --detach and without --log-uri. The exit code is that of the process; the task is\ndeleted when it has ended. Signals are passed on to it.",
  flags: {},
  async run({ args, session }) {
    const id = requireArgument(args, 0, "container id must be provided");
    const client = await session.client();
    const { signal } = session;
    const { stdin, stdout, stderr, terminal } = await client.tasks.get(id, { signal });
    if (!stdout.startsWith("/"))
      throw invalidArgument(
        `task ${id} has no pipes to attach to: its output goes to ${stdout === "" ? "nowhere" : stdout}`,
      );
    const task = client.tasks.task(id);
    using _raw = await rawModeFor(terminal);
    await using streams = new StandardStreams({
      paths: { stdin, stdout, stderr, terminal },
      onReaderGone: () => endSession(session),
    });
    using signals = new ProcessSignals(session);
    signals.forwardTo(task);
    signals.started();
    streams.begin(() => task.closeIo({ signal }));
    using _size = terminal ? await followWindowSize(task) : undefined;
    const { exitStatus } = await task.wait({ signal });
    await streams.drained();
    await deleteTask(client, id, { force: false, signal });
    return exitStatus;
  },
});
