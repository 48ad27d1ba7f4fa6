import type { Command } from "./command.ts";

/** A command that can be called. */
export interface Leaf {
  readonly name: string;
  readonly aliases?: readonly string[];
  readonly summary: string;
  readonly load: () => Promise<Command>;
}

/** A name under which there are commands. */
export interface Group {
  readonly name: string;
  readonly aliases?: readonly string[];
  readonly summary: string;
  readonly commands: readonly (Leaf | Group)[];
  /** Flags that may also stand between the group's name and the command's; the commands have them too. */
  readonly sharedFlags?: readonly string[];
}

export type Entry = Leaf | Group;

const LS = { name: "list", aliases: ["ls"] };

const containers: Group = {
  name: "containers",
  aliases: ["c", "container"],
  summary: "Manage containers",
  commands: [],
};

const content: Group = {
  name: "content",
  summary: "Manage the content store: blobs by digest",
  commands: [],
};

const images: Group = {
  name: "images",
  aliases: ["image", "i"],
  summary: "Manage images",
  commands: [
    {
      name: "import",
      summary: "Import images from a tar archive",
      load: async () => (await import("../commands/images-import.ts")).importImages,
    },
    { ...LS, summary: "List images", load: async () => (await import("../commands/images-list.ts")).list },
  ],
};

const leases: Group = {
  name: "leases",
  summary: "Manage leases, which keep things from the garbage collector",
  commands: [],
};

const namespaces: Group = {
  name: "namespaces",
  aliases: ["namespace", "ns"],
  summary: "Manage namespaces",
  commands: [],
};

const plugins: Group = {
  name: "plugins",
  aliases: ["plugin"],
  summary: "Show what the daemon is made of",
  commands: [
    { ...LS, summary: "List plugins and their state", load: async () => (await import("../commands/plugins.ts")).list },
  ],
};

const snapshots: Group = {
  name: "snapshots",
  aliases: ["snapshot"],
  summary: "Manage snapshots: the layers of file systems",
  sharedFlags: ["snapshotter"],
  commands: [],
};

const tasks: Group = {
  name: "tasks",
  aliases: ["t", "task"],
  summary: "Manage tasks: what runs in containers",
  commands: [],
};

/** Every command, in the order of the help. */
export const COMMAND_TREE: Group = {
  name: "ctr",
  summary: "Command line of berth and containerd",
  commands: [
    plugins,
    {
      name: "version",
      summary: "Show the versions of this program and of the daemon",
      load: async () => (await import("../commands/version.ts")).version,
    },
    containers,
    content,
    images,
    leases,
    namespaces,
    { name: "run", summary: "Run a container", load: async () => (await import("../commands/run.ts")).run },
    snapshots,
    tasks,
  ],
};

/** This finds the command or group that a word names below `group`. */
export function findEntry(group: Group, word: string): Entry | undefined {
  return group.commands.find(({ name, aliases }) => name === word || aliases?.includes(word) === true);
}
