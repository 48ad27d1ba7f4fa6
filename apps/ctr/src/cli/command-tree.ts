import { containers, images, leases, namespaces, plugins, snapshots, tasks } from "./command-groups.ts";
import type { Entry, Group } from "./command-entry.ts";
import { content } from "./content-group.ts";
import { pprof } from "./pprof-group.ts";
import { inspectRuntime, sandboxes, shim, system } from "./runtime-groups.ts";

/** Every command, in the order of the help. */
export const COMMAND_TREE: Group = {
  name: "ctr",
  summary: "Command line of berth and containerd",
  commands: [
    { ...plugins, commands: [...plugins.commands, inspectRuntime] },
    {
      name: "version",
      summary: "Show the versions of this program and of the daemon",
      load: async () => (await import("../commands/version.ts")).version,
    },
    containers,
    content,
    {
      name: "events",
      aliases: ["event"],
      summary: "Print events as they happen",
      load: async () => (await import("../commands/events.ts")).events,
    },
    images,
    leases,
    namespaces,
    pprof,
    { name: "run", summary: "Run a container", load: async () => (await import("../commands/run.ts")).run },
    sandboxes,
    snapshots,
    system,
    tasks,
    {
      name: "install",
      summary: "Write the programs of an image to a directory of this machine",
      load: async () => (await import("../commands/install.ts")).install,
    },
    {
      name: "oci",
      summary: "Work with OCI runtime specifications",
      commands: [
        {
          name: "spec",
          summary: "Print the default specification",
          load: async () => (await import("../commands/oci.ts")).spec,
        },
      ],
    },
    {
      name: "completion",
      summary: "Print what makes a shell complete commands",
      load: async () => (await import("../commands/completion.ts")).completion,
    },
    shim,
    {
      name: "info",
      summary: "Show what the daemon says of itself",
      load: async () => (await import("../commands/info.ts")).info,
    },
    {
      name: "deprecations",
      summary: "Show features in use that will go away",
      commands: [
        {
          name: "list",
          summary: "Print what the daemon has warned of",
          load: async () => (await import("../commands/deprecations.ts")).list,
        },
      ],
    },
  ],
};

/** This finds the command or group that a word names below `group`. */
export function findEntry(group: Group, word: string): Entry | undefined {
  return group.commands.find(({ name, aliases }) => name === word || aliases?.includes(word) === true);
}
