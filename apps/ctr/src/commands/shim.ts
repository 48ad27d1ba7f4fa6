import { StateResponseSchema } from "@berth/api/containerd/task/v3/task";
import { unimplemented } from "@berth/errors";
import { toBinary } from "@bufbuild/protobuf";

import { defineCommand } from "../cli/command.ts";
import { stringFlag } from "../cli/flags.ts";
import { print } from "../output/print.ts";
import { formatAny } from "../output/proto-json.ts";
import { connect, SHIM_FLAGS, versionFlag } from "./shim-connect.ts";

export { exec } from "./shim-exec.ts";

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
