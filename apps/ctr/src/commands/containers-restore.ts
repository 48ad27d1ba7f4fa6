import type { Client } from "@berth/client";
import type { RestoredContainer } from "@berth/client/checkpoint";
import type { PullImageOptions } from "@berth/client/pull";
import { removeContainer } from "@berth/client/run";
import { ignoreNotFound, invalidArgument, isNotFound, permissionDenied } from "@berth/errors";
import { parseReference } from "@berth/oci";
import { decodeSpec } from "@berth/oci/spec";

import { requireArgument } from "../cli/arguments.ts";
import { defineCommand } from "../cli/command.ts";
import { booleanFlag } from "../cli/flags.ts";
import { withRegistryAdvice } from "../cli/registry-advice.ts";
import type { RegistryFlags } from "../cli/registry-flags.ts";
import { openRegistry, REGISTRY_FLAGS } from "../cli/registry-flags.ts";
import type { Session } from "../cli/session.ts";
import { print } from "../output/print.ts";
import { TransferProgress } from "../output/transfer-progress.ts";
import { makeProcessIo, releaseDetached } from "../process/process-io.ts";
import { ProcessSignals } from "../process/process-signals.ts";
import { rawModeFor, startFromFlags, watchProcess } from "../process/run-task.ts";

export const restore = defineCommand({
  usage: "CONTAINER REF",
  description:
    "Makes a container of a checkpoint and starts it. One with a terminal is followed to its end; any other is left running, for tasks attach.\nWhoever made the checkpoint chooses what it runs. One that asks for more of this machine than a container has by default (a runtime by its path, options for it, hooks, mounts, devices, annotations, rights, and any field that such a container does not have) is refused without --trust; so is --live, as the memory of processes names their rights. One that is not here is fetched from its registry first; an image that it brings gets its name only where that is free, and is told.",
  examples: [
    "ctr containers restore --rw web2 example.org/web:saved",
    "ctr containers restore --trust --rw --live web2 example.org/web:saved",
  ],
  flags: {
    ...REGISTRY_FLAGS,
    rw: booleanFlag("with the changed files"),
    live: booleanFlag("let the processes go on where they were, by CRIU; else they begin again. Needs --trust"),
    trust: booleanFlag("let the checkpoint have what it asks for: give it only to those whose maker you know"),
  },
  async run({ flags, args, session }) {
    const id = requireArgument(args, 0, "container id must be provided");
    const name = requireArgument(args, 1, "ref must be provided");
    if (flags.live && !flags.trust)
      throw permissionDenied("--live gives processes the rights that their memory names: it needs --trust");
    const { restoreContainer } = await import("@berth/client/checkpoint");
    const client = await session.client();
    using signals = new ProcessSignals(session);
    await fetchUnlessThere(client, flags, name, session.signal);
    await using undo = new AsyncDisposableStack();
    const { rw: files, trust } = flags;
    const { signal } = session;
    const restored = await restoreContainer(client, id, name, { files, trust, signal });
    undo.defer(() => discard(client, restored));
    if (flags.live && restored.memory === undefined)
      throw invalidArgument(`checkpoint ${name} has no task in it: it can be restored without --live`);
    if (restored.madeImage !== undefined)
      print(`${restored.madeImage.name} named: ${restored.madeImage.target.digest}\n`);
    return await start({ client, session, signals, restored, live: flags.live, undo });
  },
});

/** As an image to look at: nothing of it is unpacked, and it stays when the restoring fails. */
async function fetchUnlessThere(
  client: Client,
  flags: RegistryFlags,
  name: string,
  signal: AbortSignal,
): Promise<void> {
  try {
    await client.images.get(name, { signal });
    return;
  } catch (error) {
    if (!isNotFound(error) || !isFullReference(name)) throw error;
  }
  const { pullImage } = await import("@berth/client/pull");
  await using registry = await openRegistry(flags);
  using progress = new TransferProgress("downloading");
  const pull: PullImageOptions = {
    // A checkpoint is an index of parts that are all for this machine; of them only one would be fetched.
    everyPlatform: true,
    signal,
    onResolved: ({ digest }) => print(`${name} resolved: ${digest}\n`),
    onProgress: (descriptor, offset) => progress.reached(descriptor, offset),
    onStored: (descriptor, state) => progress.done(descriptor, state === "exists" ? "exists" : "done"),
  };
  await withRegistryAdvice(`fetch ${name}`, () => pullImage(client, registry, name, pull));
  progress.finish();
}

/** Other names are of images that somebody has made here. */
function isFullReference(name: string): boolean {
  try {
    return parseReference(name).object !== "";
  } catch {
    return false;
  }
}

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

/** A container that was made here and does not run, and the name of its image. Without the session's signal, which an interrupt has aborted. */
async function discard(client: Client, { container, madeImage }: RestoredContainer): Promise<void> {
  await removeContainer(client, container.id).catch(ignoreNotFound);
  if (madeImage === undefined) return;
  await client.images.delete(madeImage.name, { target: madeImage.target }).catch(ignoreNotFound);
}
