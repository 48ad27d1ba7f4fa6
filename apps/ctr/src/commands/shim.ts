import { readFile } from "node:fs/promises";

import type { ShimClient } from "@berth/client/shim";
import { connectShim } from "@berth/client/shim";
import { StateResponseSchema } from "@berth/api/containerd/task/v3/task";
import { parseNamespace } from "@berth/core/namespaces";
import { invalidArgument, unimplemented } from "@berth/errors";
import { toBinary } from "@bufbuild/protobuf";

import { defineCommand } from "../cli/command.ts";
import { booleanFlag, integerFlag, stringFlag, unsupportedFlag } from "../cli/flags.ts";
import type { Session } from "../cli/session.ts";
import { print } from "../output/print.ts";
import { formatAny } from "../output/proto-json.ts";
import { findShimAddress } from "../process/shim-address.ts";

const PROCESS_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/Process";
const IN_THE_SPEC = "it belongs into the file of --spec";

const SHIM_FLAGS = {
  id: stringFlag("id of the task or sandbox whose shim is meant"),
  "shim-address": stringFlag("where the shim listens (default: what the daemon noted of the id)"),
};
const versionFlag = integerFlag("version of the task API, 2 or 3", { initial: 3 });

interface ShimFlags {
  readonly id: string;
  readonly "shim-address": string;
  readonly "api-version"?: number;
}

export const state = defineCommand({
  usage: "",
  description: "Prints what a shim says of its task.",
  examples: ["ctr shim --id web state", "ctr shim --id pod1 state --task-id web"],
  flags: {
    ...SHIM_FLAGS,
    "task-id": stringFlag("the task, where the shim has others than that of its id", { aliases: ["t"] }),
    "api-version": versionFlag,
  },
  async run({ flags, session }) {
    using shim = await connect(session, flags);
    const { signal } = session;
    const answer = await shim.tasks.state({ id: flags["task-id"] || flags.id }, { signal });
    const any = {
      typeUrl: StateResponseSchema.typeName,
      value: toBinary(StateResponseSchema, { ...answer, $typeName: StateResponseSchema.typeName }),
    };
    print(`${formatAny(any, [StateResponseSchema], "    ")}\n`);
  },
});

export const start = defineCommand({
  usage: "",
  description: "Starts a task that was created.",
  flags: SHIM_FLAGS,
  async run({ flags, session }) {
    using shim = await connect(session, flags);
    await shim.tasks.start({ id: flags.id }, { signal: session.signal });
  },
});

export const remove = defineCommand({
  usage: "",
  description: "Deletes a task that has ended. The daemon does not learn of it.",
  flags: SHIM_FLAGS,
  async run({ flags, session }) {
    using shim = await connect(session, flags);
    const { exitStatus } = await shim.tasks.delete({ id: flags.id }, { signal: session.signal });
    print(`container deleted and returned exit status ${exitStatus}\n`);
  },
});

export const shutdown = defineCommand({
  usage: "",
  description: "Has the shim end, which it does when it has no tasks.",
  flags: { ...SHIM_FLAGS, "api-version": versionFlag },
  async run({ flags, session }) {
    using shim = await connect(session, flags);
    await shim.tasks.shutdown({ id: flags.id }, { signal: session.signal });
  },
});

export const exec = defineCommand({
  usage: "<exec id>",
  description: "Starts a further process in a task. Its streams are FIFOs that exist, or nothing.",
  flags: {
    ...SHIM_FLAGS,
    spec: stringFlag("file with the process, JSON of an OCI runtime spec"),
    stdin: stringFlag("FIFO that is its standard input"),
    stdout: stringFlag("FIFO that is its standard output"),
    stderr: stringFlag("FIFO that is its standard error"),
    tty: booleanFlag("give it a terminal", { aliases: ["t"] }),
    attach: unsupportedFlag("use ctr tasks exec", "boolean", ["a"]),
    env: unsupportedFlag(IN_THE_SPEC, "list", ["e"]),
    cwd: unsupportedFlag(IN_THE_SPEC),
  },
  async run({ flags, args, session }) {
    const [execId = ""] = args;
    if (execId === "") throw invalidArgument("exec id must be provided");
    const { id, stdin, stdout, stderr, tty: terminal } = flags;
    const spec = { typeUrl: PROCESS_TYPE, value: await readFile(flags.spec) };
    using shim = await connect(session, flags);
    const { signal } = session;
    await shim.tasks.exec({ id, execId, spec, stdin, stdout, stderr, terminal }, { signal });
    const { pid } = await shim.tasks.start({ id, execId }, { signal });
    print(`exec running with pid ${pid}\n`);
  },
});

export const pprof = defineCommand({
  usage: "block | goroutines | heap | profile | threadcreate | trace",
  description: "Not here: berth's shims are no Go programs. SIGUSR1 has one of them write its stacks into its log.",
  flags: SHIM_FLAGS,
  async run() {
    throw unimplemented(
      "shims of berth have no pprof: send SIGUSR1 to one, and it writes its stacks into the daemon's log",
    );
  },
});

async function connect(session: Session, flags: ShimFlags): Promise<ShimClient> {
  if (flags.id === "") throw invalidArgument("--id must be given: the id of a task or sandbox");
  const address = flags["shim-address"] || (await findShimAddress(session, flags.id));
  return await connectShim({
    address,
    namespace: parseNamespace(session.namespace),
    version: flags["api-version"] ?? 3,
  });
}
