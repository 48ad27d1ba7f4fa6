import { ProcessDetailsSchema } from "@berth/api/containerd/runc/v1/options";
import { ProcessInfoSchema, ProcessSchema, Status } from "@berth/api/containerd/v1/types/task";
import { createTasksClient } from "@berth/client/tasks";
import type { ProcessInfo, ProcessState, ProcessStatus } from "@berth/core/runtime";

import { requireArgument } from "../cli/arguments.ts";
import { defineCommand } from "../cli/command.ts";
import type { Listing } from "../output/listing.ts";
import { formatFlag, LISTING_FLAGS, printListing } from "../output/listing.ts";
import { messageJson, timeNsField } from "../output/message-json.ts";
import { WIDE } from "../output/table.ts";

const NO_ID = "container id must be provided";

const WIRE_STATUS: Readonly<Record<ProcessStatus, Status>> = {
  unknown: Status.UNKNOWN,
  created: Status.CREATED,
  running: Status.RUNNING,
  stopped: Status.STOPPED,
  paused: Status.PAUSED,
  pausing: Status.PAUSING,
};

const TASKS: Listing<ProcessState> = {
  style: WIDE,
  header: ["TASK", "PID", "STATUS", ""],
  row: ({ id, pid, status }) => [id, String(pid), status.toUpperCase()],
  name: ({ id }) => id,
  json: ({ id, pid, status, stdin, stdout, stderr, terminal, exitStatus, exitedAtNs }) =>
    messageJson(ProcessSchema, {
      id,
      pid,
      status: WIRE_STATUS[status],
      stdin,
      stdout,
      stderr,
      terminal,
      exitStatus,
      ...timeNsField("exitedAt", exitedAtNs),
    }),
};

const PROCESSES: Listing<ProcessInfo> = {
  style: WIDE,
  header: ["PID", "INFO"],
  row: async (process) => [String(process.pid), await describe(process)],
  json: ({ pid, info }) => messageJson(ProcessInfoSchema, { pid, ...(info && { info }) }, [ProcessDetailsSchema]),
};

export const list = defineCommand({
  usage: "",
  flags: LISTING_FLAGS,
  async run({ flags, session }) {
    await printListing(createTasksClient(session.transport()).list({ signal: session.signal }), flags, TASKS);
  },
});

export const ps = defineCommand({
  usage: "CONTAINER",
  description: "The pids are those of the host.",
  flags: { format: formatFlag },
  async run({ flags, args, session }) {
    const id = requireArgument(args, 0, NO_ID);
    const processes = await createTasksClient(session.transport()).task(id).pids({ signal: session.signal });
    await printListing(processes, flags, PROCESSES);
  },
});

/** Processes that an exec has started tell its id. */
async function describe({ info }: ProcessInfo): Promise<string> {
  if (info === undefined) return "-";
  const { formatAny } = await import("../output/proto-json.ts");
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
