import type { Client } from "@berth/client";
import type { RestoredContainer } from "@berth/client/checkpoint";
import { removeContainer } from "@berth/client/run";
import { invalidArgument, isNotFound } from "@berth/errors";
import { decodeSpec } from "@berth/oci/spec";

import { requireArgument } from "../cli/arguments.ts";
import { defineCommand } from "../cli/command.ts";
import { booleanFlag } from "../cli/flags.ts";
import type { Session } from "../cli/session.ts";
import { makeProcessIo, releaseDetached } from "../process/process-io.ts";
import { ProcessSignals } from "../process/process-signals.ts";
import { rawModeFor, startFromFlags, watchProcess } from "../process/run-task.ts";

export const restore = defineCommand({
  usage: "CONTAINER REF",
  description:
    "Makes a container of a checkpoint and starts it. One with a terminal is followed to its end; any other is left running, for tasks attach.",
  examples: ["ctr containers restore --rw web2 example.org/web:saved"],
  flags: {
    rw: booleanFlag("with the changed files"),
    live: booleanFlag("let the processes go on where they were, by CRIU; else they begin again"),
  },
  async run({ flags, args, session }) {
    const id = requireArgument(args, 0, "container id must be provided");
    const name = requireArgument(args, 1, "ref must be provided");
    const { restoreContainer } = await import("@berth/client/checkpoint");
    const client = await session.client();
    using signals = new ProcessSignals(session);
    await using undo = new AsyncDisposableStack();
    const restored = await restoreContainer(client, id, name, { files: flags.rw, signal: session.signal });
    undo.defer(() => discard(client, id));
    if (flags.live && restored.memory === undefined)
      throw invalidArgument(`checkpoint ${name} has no task in it: it can be restored without --live`);
    return await start({ client, session, signals, restored, live: flags.live, undo });
  },
});

interface RestoreContext {
  readonly client: Client;
  readonly session: Session;
  readonly signals: ProcessSignals;
  readonly restored: RestoredContainer;
  readonly live: boolean;
  /** Removes the container, unless its task has started. */
  readonly undo: AsyncDisposableStack;
}

async function start({ client, session, signals, restored, live, undo }: RestoreContext): Promise<number> {
  const { container, memory } = restored;
  const { id, spec } = container;
  const { signal } = session;
  const terminal = spec !== undefined && decodeSpec(spec).process?.terminal === true;
  using _raw = await rawModeFor(terminal);
  const io = await makeProcessIo(session, { id, terminal, detach: !terminal, fifoDir: "", nullIo: false, logUri: "" });
  const checkpoint = live ? memory : undefined;
  const options = { io, terminal, pidFile: "", taskOptions: undefined, checkpoint, signal };
  if (!terminal) {
    await startFromFlags(client, container, options);
    undo.move();
    releaseDetached(io);
    return 0;
  }
  await using running = await startFromFlags(client, container, { ...options, signals });
  undo.move();
  return await watchProcess(running, { terminal, signal, signals });
}

/** A container that was made here and does not run. Without the session's signal, which an interrupt has aborted. */
async function discard(client: Client, id: string): Promise<void> {
  await removeContainer(client, id).catch((error: unknown) => {
    if (!isNotFound(error)) throw error;
  });
}
