import { readFile } from "node:fs/promises";

import type { ShimTasks } from "@berth/client/shim";
import { invalidArgument, wrapError } from "@berth/errors";

import { defineCommand } from "../cli/command.ts";
import type { FlagValues } from "../cli/flags.ts";
import { booleanFlag, listFlag, stringFlag } from "../cli/flags.ts";
import type { Session } from "../cli/session.ts";
import { print } from "../output/print.ts";
import { endSession, makeProcessIo } from "../process/process-io.ts";
import { ProcessSignals } from "../process/process-signals.ts";
import { rawModeFor } from "../process/run-task.ts";
import { StandardStreams } from "../process/standard-streams.ts";
import { followWindowSize } from "../process/terminal.ts";
import { connect, SHIM_FLAGS } from "./shim-connect.ts";

const PROCESS_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/Process";

const FLAGS = {
  ...SHIM_FLAGS,
  spec: stringFlag("file with the process, JSON of an OCI runtime spec"),
  stdin: stringFlag("FIFO that is its standard input"),
  stdout: stringFlag("FIFO that is its standard output"),
  stderr: stringFlag("FIFO that is its standard error"),
  tty: booleanFlag("give it a terminal", { aliases: ["t"] }),
  attach: booleanFlag("pass on the own streams and signals, and wait for its end", { aliases: ["a"] }),
  env: listFlag("environment variable beside those of the spec, NAME=value", { aliases: ["e"] }),
  cwd: stringFlag("working directory instead of that of the spec"),
};

type ExecFlags = FlagValues<typeof FLAGS>;

export const exec = defineCommand({
  usage: "<exec id>",
  description:
    "Starts a further process in a task. Its streams are FIFOs that exist, or nothing. With --attach and no FIFOs, pipes are made;\nthe exit code is that of the process then, which is deleted in the shim when it has ended.",
  examples: ["ctr shim --id web exec --spec process.json --attach --tty shell"],
  flags: FLAGS,
  async run({ flags, args, session }) {
    const [execId = ""] = args;
    if (execId === "") throw invalidArgument("exec id must be provided");
    const spec = { typeUrl: PROCESS_TYPE, value: await readProcess(flags) };
    using shim = await connect(session, flags);
    if (flags.attach) return await attached(shim.tasks, session, flags, { execId, spec });
    const { id, stdin, stdout, stderr, tty: terminal } = flags;
    const { signal } = session;
    await shim.tasks.exec({ id, execId, spec, stdin, stdout, stderr, terminal }, { signal });
    const { pid } = await shim.tasks.start({ id, execId }, { signal });
    print(`exec running with pid ${pid}\n`);
    return 0;
  },
});

interface Exec {
  readonly execId: string;
  readonly spec: { readonly typeUrl: string; readonly value: Uint8Array<ArrayBuffer> };
}

async function attached(tasks: ShimTasks, session: Session, flags: ExecFlags, exec: Exec): Promise<number> {
  const { id, tty: terminal } = flags;
  const { execId } = exec;
  const { signal } = session;
  const process = { id, execId };
  const target = {
    kill: async ({ signalNumber }: { readonly signalNumber: number }): Promise<void> =>
      void (await tasks.kill({ ...process, signal: signalNumber })),
    resizePty: async (size: { readonly width: number; readonly height: number }): Promise<void> =>
      void (await tasks.resizePty({ ...process, ...size })),
  };
  using signals = new ProcessSignals(session);
  using _raw = await rawModeFor(terminal);
  await using streams = await ownStreams(session, flags, execId);
  await tasks.exec({ ...exec, id, ...streams.paths }, { signal });
  await using undo = new AsyncDisposableStack();
  undo.defer(async () => void (await tasks.delete(process).catch(() => {})));
  signals.forwardTo(target, execId);
  await tasks.start(process, { signal });
  signals.started();
  streams.begin(async () => void (await tasks.closeIO({ ...process, stdin: true }, { signal })));
  using _size = terminal ? await followWindowSize(target, execId) : undefined;
  const { exitStatus } = await tasks.wait(process, { signal });
  await streams.drained();
  return exitStatus;
}

/** FIFOs that the flags name, or new ones. */
async function ownStreams(session: Session, flags: ExecFlags, id: string): Promise<StandardStreams> {
  const { stdin, stdout, stderr, tty: terminal } = flags;
  if (stdin !== "" || stdout !== "" || stderr !== "") {
    const paths = { stdin, stdout, stderr, terminal };
    return new StandardStreams({ paths, onReaderGone: () => endSession(session) });
  }
  const io = await makeProcessIo(session, { id, terminal, detach: false, fifoDir: "", nullIo: false, logUri: "" });
  // neither detached nor without streams
  return io as StandardStreams;
}

async function readProcess({ spec, tty, env, cwd }: ExecFlags): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(await readFile(spec));
  if (!tty && env.length === 0 && cwd === "") return bytes;
  let process: unknown;
  try {
    process = JSON.parse(new TextDecoder().decode(bytes));
  } catch (error) {
    throw wrapError(error, `read ${spec}`);
  }
  if (typeof process !== "object" || process === null)
    throw invalidArgument(`${spec}: no process of an OCI runtime spec`);
  const { env: known } = process as { readonly env?: unknown }; // any object may be asked for any name
  const changed = {
    ...process,
    ...(tty ? { terminal: true } : {}),
    ...(env.length === 0 ? {} : { env: [...(Array.isArray(known) ? known : []), ...env] }),
    ...(cwd === "" ? {} : { cwd }),
  };
  return new TextEncoder().encode(JSON.stringify(changed));
}
