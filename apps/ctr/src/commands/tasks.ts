import { createTasksClient } from "@berth/client/tasks";
import type { ProcessInfo } from "@berth/core/runtime";

import { requireArgument } from "../cli/arguments.ts";
import { defineCommand } from "../cli/command.ts";
import { booleanFlag } from "../cli/flags.ts";
import { print } from "../output/print.ts";
import { formatTable, WIDE } from "../output/table.ts";

const NO_ID = "container id must be provided";

export const list = defineCommand({
  usage: "",
  flags: { quiet: booleanFlag("print only the ids", { aliases: ["q"] }) },
  async run({ flags, session }) {
    const tasks = await Array.fromAsync(createTasksClient(session.transport()).list({ signal: session.signal }));
    if (flags.quiet) for (const { id } of tasks) print(`${id}\n`);
    else {
      const rows = tasks.map(({ id, pid, status }) => [id, String(pid), status.toUpperCase()]);
      print(formatTable([["TASK", "PID", "STATUS", ""], ...rows], WIDE));
    }
  },
});

export const ps = defineCommand({
  usage: "CONTAINER",
  description: "The pids are those of the host.",
  flags: {},
  async run({ args, session }) {
    const id = requireArgument(args, 0, NO_ID);
    const processes = await createTasksClient(session.transport()).task(id).pids({ signal: session.signal });
    const rows: string[][] = [["PID", "INFO"]];
    for (const process of processes) rows.push([String(process.pid), await describe(process)]);
    print(formatTable(rows, WIDE));
  },
});

/** Processes that an exec has started tell its id. */
async function describe({ info }: ProcessInfo): Promise<string> {
  if (info === undefined) return "-";
  const [{ formatAny }, { ProcessDetailsSchema }] = await Promise.all([
    import("../output/proto-json.ts"),
    import("@berth/api/containerd/runc/v1/options"),
  ]);
  return formatAny(info, [ProcessDetailsSchema]);
}

export const pause = defineCommand({
  usage: "CONTAINER",
  flags: {},
  async run({ args, session }) {
    const id = requireArgument(args, 0, NO_ID);
    await createTasksClient(session.transport()).task(id).pause({ signal: session.signal });
  },
});

export const resume = defineCommand({
  usage: "CONTAINER",
  flags: {},
  async run({ args, session }) {
    const id = requireArgument(args, 0, NO_ID);
    await createTasksClient(session.transport()).task(id).resume({ signal: session.signal });
  },
});
