import { writeFile } from "node:fs/promises";

import type { Client } from "@berth/client";
import { removeContainer } from "@berth/client/run";
import type { Container } from "@berth/core/containers";
import { ignoreNotFound, invalidArgument } from "@berth/errors";

import { defineCommand } from "../cli/command.ts";
import type { FlagValues } from "../cli/flags.ts";
import { booleanFlag, listFlag, stringFlag } from "../cli/flags.ts";
import type { Session } from "../cli/session.ts";
import { CONTAINER_FLAGS } from "../process/container-flags.ts";
import { containerArguments, createFromFlags } from "../process/create-from-flags.ts";
import { ContainerNetwork } from "../process/container-network.ts";
import { LIMIT_FLAGS } from "../process/limit-flags.ts";
import { makeProcessIo, releaseDetached } from "../process/process-io.ts";
import { ProcessSignals } from "../process/process-signals.ts";
import { rawModeFor, startAndWatch, startFromFlags } from "../process/run-task.ts";
import { noPivotOptions } from "../process/runtime-options.ts";

const FLAGS = {
  rm: booleanFlag("remove the container when it has ended"),
  detach: booleanFlag("leave the container running and return", { aliases: ["d"] }),
  "null-io": booleanFlag("give the process no input, and drop its output"),
  "log-uri": stringFlag("where the output goes, e.g. file:///tmp/log or binary:///usr/bin/logger"),
  "fifo-dir": stringFlag("directory for the pipes of standard input and output (default: /run/berth/fifo)"),
  cgroup: stringFlag("path of the cgroup"),
  platform: stringFlag("platform of the image, e.g. linux/arm64 (default: the host's)"),
  "sync-fs": booleanFlag("start only when what was unpacked has reached the disk"),
  "dump-config": stringFlag("write the spec to this file, and do not run anything"),
  "privileged-without-host-devices": booleanFlag("with --privileged: no devices of the host"),
  ...LIMIT_FLAGS,
  ...CONTAINER_FLAGS,
  cni: booleanFlag("attach the container to the first network of /etc/cni/net.d"),
  uidmap: listFlag("users of a user namespace, CONTAINER-ID:HOST-ID:SIZE"),
  gidmap: listFlag("groups of a user namespace, likewise"),
  "remap-labels": booleanFlag("let the snapshotter map the owners of files, if it can, instead of changing each"),
} as const;

type RunFlags = FlagValues<typeof FLAGS>;

export const run = defineCommand({
  usage: "Image|RootFS ID [COMMAND] [ARG...]",
  description:
    "Without a command, the image's own runs. The exit code is that of the process. Signals are passed on to it.",
  examples: [
    "ctr run --rm example.org/busybox:1 hello echo hello",
    "ctr run --rm -t example.org/busybox:1 shell sh",
    "ctr run -d --net-host --memory-limit 67108864 example.org/server:1 server",
    "ctr run --rm --mount type=bind,src=/srv,dst=/srv,options=rbind:ro example.org/busybox:1 ls ls /srv",
  ],
  flags: FLAGS,
  async run({ flags, args, session }) {
    const request = containerArguments(flags, args);
    if (flags.rm && flags.detach) throw invalidArgument("flags --detach and --rm cannot be specified together");
    const client = await session.client();
    await using cleanup = new AsyncDisposableStack();
    const signals = cleanup.use(new ProcessSignals(session));
    const network = await loadNetwork(client, flags, request.id, session.signal);
    const container = await createFromFlags(client, flags, request, session.signal);
    // Removed without the session's signal, which an interrupt has aborted.
    if (flags.rm || flags["dump-config"] !== "")
      cleanup.defer(() => removeContainer(client, container.id).catch(ignoreNotFound));
    if (flags["dump-config"] !== "") {
      await writeFile(flags["dump-config"], container.spec?.value ?? "");
      return 0;
    }
    // Before the container, and after its task.
    if (network !== undefined) cleanup.use(network);
    return await runContainer({ client, container, flags, session, signals, network });
  },
});

interface RunContext {
  readonly client: Client;
  readonly container: Container;
  readonly flags: RunFlags;
  readonly session: Session;
  readonly signals: ProcessSignals;
  readonly network: ContainerNetwork | undefined;
}

/** Before anything is made: without a network there is to be no container. */
async function loadNetwork(
  client: Client,
  flags: RunFlags,
  id: string,
  signal: AbortSignal,
): Promise<ContainerNetwork | undefined> {
  if (!flags.cni) return undefined;
  if (flags["net-host"]) throw invalidArgument("flags --cni and --net-host cannot be specified together");
  return await ContainerNetwork.load(client, id, { signal });
}

async function runContainer(context: RunContext): Promise<number> {
  const { client, container, flags, session, signals, network } = context;
  const { signal } = session;
  const { tty: terminal, detach, "pid-file": pidFile } = flags;
  const taskOptions = flags["no-pivot"] ? noPivotOptions(container.runtime.options) : undefined;
  using _raw = await rawModeFor(terminal && !detach);
  const io = await makeProcessIo(session, {
    id: container.id,
    terminal,
    detach,
    fifoDir: flags["fifo-dir"],
    nullIo: flags["null-io"],
    logUri: flags["log-uri"],
  });
  const started = { io, terminal, pidFile, taskOptions, network, signal };
  if (detach) {
    await startFromFlags(client, container, started);
    await network?.keep();
    releaseDetached(io);
    return 0;
  }
  return await startAndWatch(client, container, { ...started, signals });
}
