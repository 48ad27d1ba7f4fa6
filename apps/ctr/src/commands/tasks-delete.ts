import { requireArgument } from "../cli/arguments.ts";
import { defineCommand } from "../cli/command.ts";
import { booleanFlag, stringFlag } from "../cli/flags.ts";
import { complain, forEachTold } from "../output/complain.ts";
import { deleteTask } from "../process/delete-task.ts";

export const remove = defineCommand({
  usage: "CONTAINER [CONTAINER, ...]",
  description: "Tells the exit code of a task that has failed. With --exec-id it becomes the exit code of ctr.",
  flags: {
    force: booleanFlag("kill the task first", { aliases: ["f"] }),
    "exec-id": stringFlag("delete this exec instead of the task"),
  },
  async run({ flags, args, session }) {
    const first = requireArgument(args, 0, "must specify at least one container to delete its task");
    const client = await session.client();
    const { force, "exec-id": execId } = flags;
    const { signal } = session;
    if (execId !== "") return await deleteTask(client, first, { force, execId, signal });
    await forEachTold(args, async (id) => {
      const code = await deleteTask(client, id, { force, signal });
      if (code !== 0) complain(`task ${id} exit with non-zero exit code ${code}`);
    });
    return 0;
  },
});
