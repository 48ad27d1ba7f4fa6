import type { Group, Leaf } from "./command-entry.ts";

export const sandboxes: Group = {
  name: "sandboxes",
  aliases: ["sandbox", "sb", "s"],
  summary: "Manage sandboxes",
  commands: [
    {
      name: "run",
      aliases: ["create", "c", "r"],
      summary: "Create and start a sandbox",
      load: async () => (await import("../commands/sandboxes.ts")).run,
    },
    {
      name: "list",
      aliases: ["ls"],
      summary: "List sandboxes",
      load: async () => (await import("../commands/sandboxes.ts")).list,
    },
    {
      name: "remove",
      aliases: ["rm"],
      summary: "End and remove sandboxes",
      load: async () => (await import("../commands/sandboxes.ts")).remove,
    },
    {
      name: "info",
      aliases: ["i"],
      summary: "Show a sandbox's record and status",
      load: async () => (await import("../commands/sandboxes.ts")).info,
    },
  ],
};

export const system: Group = {
  name: "system",
  summary: "See and free disk space",
  commands: [
    {
      name: "df",
      summary: "Show what takes how much space",
      load: async () => (await import("../commands/system-df.ts")).df,
    },
    {
      name: "prune",
      summary: "Remove containers that do not run, and images that nobody uses",
      load: async () => (await import("../commands/system-prune.ts")).prune,
    },
  ],
};

const shimCommand = (name: string, summary: string, key: keyof typeof import("../commands/shim.ts")): Leaf => ({
  name,
  summary,
  load: async () => (await import("../commands/shim.ts"))[key],
});

export const shim: Group = {
  name: "shim",
  summary: "Talk to a shim itself, past the daemon",
  sharedFlags: ["id", "shim-address"],
  commands: [
    shimCommand("delete", "Delete a task that has ended", "remove"),
    shimCommand("exec", "Start a further process in a task", "exec"),
    shimCommand("start", "Start a task that was created", "start"),
    shimCommand("state", "Show what the shim says of its task", "state"),
    shimCommand("shutdown", "Have the shim end", "shutdown"),
    shimCommand("pprof", "Not available: says what is instead", "pprof"),
  ],
};

export const inspectRuntime: Leaf = {
  name: "inspect-runtime",
  summary: "Show what a runtime is and can do",
  load: async () => (await import("../commands/plugins-inspect-runtime.ts")).inspectRuntime,
};
