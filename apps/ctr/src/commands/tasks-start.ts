import { failedPrecondition } from "@berth/errors";
import { decodeSpec } from "@berth/oci/spec";

import { requireArgument } from "../cli/arguments.ts";
import { defineCommand } from "../cli/command.ts";
import { booleanFlag, stringFlag } from "../cli/flags.ts";
import { ContainerNetwork, hasNetwork } from "../process/container-network.ts";
import { makeProcessIo, releaseDetached } from "../process/process-io.ts";
import { ProcessSignals } from "../process/process-signals.ts";
import { rawModeFor, startAndWatch, startFromFlags } from "../process/run-task.ts";
import { noPivotOptions } from "../process/runtime-options.ts";

export const start = defineCommand({
  usage: "CONTAINER",
  description:
    "The exit code is that of the process. Signals are passed on to it. The task is deleted when it has ended.",
  flags: {
    "no-pivot": booleanFlag("do not use pivot_root"),
    "null-io": booleanFlag("give the process no input, and drop its output"),
    "log-uri": stringFlag("where the output goes, e.g. file:///tmp/log"),
    "fifo-dir": stringFlag("directory for the pipes of standard input and output (default: /run/berth/fifo)"),
    "pid-file": stringFlag("write the pid of the process to this file"),
    detach: booleanFlag("return when the process has started", { aliases: ["d"] }),
  },
  async run({ flags, args, session }) {
    const id = requireArgument(args, 0, "container id must be provided");
    const client = await session.client();
    const { signal } = session;
    using signals = new ProcessSignals(session);
    const container = await client.containers.get(id, { signal });
    if (container.spec === undefined) throw failedPrecondition(`container ${id} has no spec`);
    const terminal = decodeSpec(container.spec).process?.terminal ?? false;
    const { detach, "pid-file": pidFile } = flags;
    // It was made with one, and has to have it each time that it starts.
    await using network = hasNetwork(container) ? await ContainerNetwork.load(client, id, { signal }) : undefined;
    const taskOptions = flags["no-pivot"] ? noPivotOptions(container.runtime.options) : undefined;
    using _raw = await rawModeFor(terminal && !detach);
    const io = await makeProcessIo(session, {
      id,
      terminal,
      detach,
      fifoDir: flags["fifo-dir"],
      nullIo: flags["null-io"],
      logUri: flags["log-uri"],
    });
    const started = { io, terminal, pidFile, taskOptions, network, isAgain: true, signal };
    if (detach) {
      await startFromFlags(client, container, started);
      await network?.keep();
      releaseDetached(io);
      return 0;
    }
    return await startAndWatch(client, container, { ...started, signals });
  },
});
