import type { Client } from "@berth/client";
import type { AttachedIo } from "@berth/client/run";
import { startExec } from "@berth/client/run";
import type { Container } from "@berth/core/containers";
import { failedPrecondition, invalidArgument } from "@berth/errors";
import type { SpecOption, SpecProcess, UserFiles } from "@berth/oci/spec";
import { decodeSpec, execProcess, withAdditionalGids, withCwd, withTty, withUser } from "@berth/oci/spec";

import { requireArgument } from "../cli/arguments.ts";
import { defineCommand } from "../cli/command.ts";
import type { FlagValues } from "../cli/flags.ts";
import { booleanFlag, stringFlag } from "../cli/flags.ts";
import { makeProcessIo, releaseDetached } from "../process/process-io.ts";
import { ProcessSignals } from "../process/process-signals.ts";
import { rawModeFor, watchProcess } from "../process/run-task.ts";
import { StandardStreams } from "../process/standard-streams.ts";
import { readUserFilesAt } from "../process/user-files.ts";

const FLAGS = {
  cwd: stringFlag("working directory of the process"),
  tty: booleanFlag("give the process a terminal", { aliases: ["t"] }),
  detach: booleanFlag("return when the process has started", { aliases: ["d"] }),
  "exec-id": stringFlag("id of the process; required"),
  "fifo-dir": stringFlag("directory for the pipes of standard input and output (default: /run/berth/fifo)"),
  "log-uri": stringFlag("where the output goes, e.g. file:///tmp/log"),
  user: stringFlag("user of the process, name or number, with :group if wanted"),
};

type ExecFlags = FlagValues<typeof FLAGS>;

export const exec = defineCommand({
  usage: "CONTAINER CMD [ARG...]",
  description: "The exit code is that of the process. Signals are passed on to it.",
  examples: ["ctr tasks exec --exec-id shell -t web sh"],
  flags: FLAGS,
  async run({ flags, args, session }) {
    const { "exec-id": execId, tty: terminal, detach } = flags;
    if (execId === "") throw invalidArgument('Required flag "exec-id" not set');
    const id = requireArgument(args, 0, "container id must be provided");
    requireArgument(args, 1, "command must be provided");
    const client = await session.client();
    const { signal } = session;
    using signals = new ProcessSignals(session);
    const container = await client.containers.get(id, { signal });
    const process = await makeProcess(client, container, flags, args.slice(1));
    using _raw = await rawModeFor(terminal && !detach);
    const io = await makeProcessIo(session, {
      id: execId,
      terminal,
      detach,
      fifoDir: flags["fifo-dir"],
      nullIo: false,
      logUri: flags["log-uri"],
    });
    if (detach) {
      await startExec(client, id, { execId, process, io, signal });
      releaseDetached(io);
      return 0;
    }
    signals.forwardTo(client.tasks.task(id), execId);
    await using running = await startExec(client, id, { execId, process, io, signal });
    beginInput(io, () => running.task.closeIo({ execId, signal }));
    return await watchProcess(running, { terminal, signal, signals });
  },
});

function beginInput(io: AttachedIo, closeStdin: () => Promise<void>): void {
  if (io instanceof StandardStreams) io.begin(closeStdin);
}

/** @throws failed_precondition - the container has no spec to start from */
async function makeProcess(
  client: Client,
  container: Container,
  flags: ExecFlags,
  args: readonly string[],
): Promise<SpecProcess> {
  if (container.spec === undefined) throw failedPrecondition(`container ${container.id} has no spec`);
  const options: SpecOption[] = [];
  if (flags.tty) options.push(withTty);
  if (flags.cwd !== "") options.push(withCwd(flags.cwd));
  if (flags.user !== "") {
    const files = await runningUserFiles(client, container.id);
    options.push(withUser(flags.user, files), withAdditionalGids(flags.user.split(":")[0] ?? "", files));
  }
  return execProcess(decodeSpec(container.spec), args, ...options);
}

/** The user files as the container sees them now, through its init process. */
async function runningUserFiles(client: Client, id: string): Promise<UserFiles> {
  const { pid } = await client.tasks.get(id);
  return await readUserFilesAt(`/proc/${pid}/root`);
}
