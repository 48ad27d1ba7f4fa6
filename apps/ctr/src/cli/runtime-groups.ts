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

export const inspectRuntime: Leaf = {
  name: "inspect-runtime",
  summary: "Show what a runtime is and can do",
  load: async () => (await import("../commands/plugins-inspect-runtime.ts")).inspectRuntime,
};
