import type { Entry } from "./command-entry.ts";
import { COMMAND_TREE } from "./command-tree.ts";

/**
 * This loads every command and what they share, so that a start-up snapshot holds them. Modules of commands must
 * not look at the process (its environment, arguments, streams) while they load: a snapshot would keep the answer.
 */
export async function preloadCommands(): Promise<void> {
  await Promise.all([
    loadAll(COMMAND_TREE),
    import("./session.ts"),
    import("./help.ts"),
    import("@berth/client"),
    import("@berth/client/introspection"),
  ]);
}

async function loadAll(entry: Entry): Promise<void> {
  if ("commands" in entry) await Promise.all(entry.commands.map((each) => loadAll(each)));
  else await entry.load();
}
