import type { Group } from "./command-entry.ts";

const LS = { name: "list", aliases: ["ls"] };
const RM = { name: "delete", aliases: ["del", "remove", "rm"] };

export const containers: Group = {
  name: "containers",
  aliases: ["c", "container"],
  summary: "Manage containers",
  commands: [
    {
      name: "checkpoint",
      summary: "Make an image that a container can be made of again",
      load: async () => (await import("../commands/containers-checkpoint.ts")).checkpoint,
    },
    {
      name: "commit",
      summary: "Make an image of what a container has changed",
      load: async () => (await import("../commands/containers-commit.ts")).commit,
    },
    {
      name: "create",
      summary: "Create a container from an image or a directory",
      load: async () => (await import("../commands/containers-create.ts")).create,
    },
    { ...RM, summary: "Delete containers", load: async () => (await import("../commands/containers.ts")).remove },
    {
      name: "info",
      summary: "Show a container's record and spec",
      load: async () => (await import("../commands/containers.ts")).info,
    },
    { ...LS, summary: "List containers", load: async () => (await import("../commands/containers.ts")).list },
    {
      name: "label",
      summary: "Set and clear labels of a container",
      load: async () => (await import("../commands/containers.ts")).label,
    },
    {
      name: "restore",
      summary: "Make a container of a checkpoint, and start it",
      load: async () => (await import("../commands/containers-restore.ts")).restore,
    },
  ],
};

export const images: Group = {
  name: "images",
  aliases: ["image", "i"],
  summary: "Manage images",
  commands: [
    {
      name: "build-erofs-cache",
      summary: "Make EROFS images of layers, for the caches of the erofs snapshotter",
      load: async () => (await import("../commands/images-build-erofs-cache.ts")).buildErofsCache,
    },
    {
      name: "check",
      summary: "Check that images are complete and unpacked",
      load: async () => (await import("../commands/images-check.ts")).check,
    },
    {
      name: "convert",
      summary: "Make another image of one: layers recompressed or EROFS images, renamed types, fewer platforms",
      load: async () => (await import("../commands/images-convert.ts")).convert,
    },
    {
      name: "export",
      summary: "Write images to a tar archive",
      load: async () => (await import("../commands/images-export.ts")).exportImages,
    },
    {
      name: "import",
      summary: "Import images from a tar archive",
      load: async () => (await import("../commands/images-import.ts")).importImages,
    },
    {
      name: "prune",
      summary: "Remove images that nobody uses",
      load: async () => (await import("../commands/images-prune.ts")).prune,
    },
    {
      name: "pull",
      summary: "Download an image from a registry",
      load: async () => (await import("../commands/images-pull.ts")).pull,
    },
    {
      name: "push",
      summary: "Upload an image to a registry",
      load: async () => (await import("../commands/images-push.ts")).push,
    },
    {
      name: "inspect",
      aliases: ["i"],
      summary: "Show what an image consists of",
      load: async () => (await import("../commands/images-inspect.ts")).inspect,
    },
    {
      name: "mount",
      summary: "Mount an image",
      load: async () => (await import("../commands/images-mount.ts")).mount,
    },
    {
      name: "unmount",
      summary: "Unmount an image",
      load: async () => (await import("../commands/images-mount.ts")).unmount,
    },
    { ...LS, summary: "List images", load: async () => (await import("../commands/images-list.ts")).list },
    { ...RM, summary: "Delete images by name", load: async () => (await import("../commands/images.ts")).remove },
    { name: "tag", summary: "Give an image more names", load: async () => (await import("../commands/images.ts")).tag },
    {
      name: "label",
      summary: "Set and clear labels of an image",
      load: async () => (await import("../commands/images.ts")).label,
    },
    {
      name: "usage",
      summary: "Show what the layers of an image take on disk",
      load: async () => (await import("../commands/images-usage.ts")).usage,
    },
  ],
};

export const leases: Group = {
  name: "leases",
  summary: "Manage leases, which keep things from the garbage collector",
  commands: [
    { ...LS, summary: "List leases", load: async () => (await import("../commands/leases.ts")).list },
    { name: "create", summary: "Create a lease", load: async () => (await import("../commands/leases.ts")).create },
    { ...RM, summary: "Delete leases", load: async () => (await import("../commands/leases.ts")).remove },
  ],
};

export const namespaces: Group = {
  name: "namespaces",
  aliases: ["namespace", "ns"],
  summary: "Manage namespaces",
  commands: [
    {
      name: "create",
      aliases: ["c"],
      summary: "Create a namespace",
      load: async () => (await import("../commands/namespaces.ts")).create,
    },
    { ...LS, summary: "List namespaces", load: async () => (await import("../commands/namespaces.ts")).list },
    {
      name: "remove",
      aliases: ["rm"],
      summary: "Remove empty namespaces",
      load: async () => (await import("../commands/namespaces.ts")).remove,
    },
    {
      name: "label",
      summary: "Set and clear labels of a namespace",
      load: async () => (await import("../commands/namespaces.ts")).label,
    },
  ],
};

export const plugins: Group = {
  name: "plugins",
  aliases: ["plugin"],
  summary: "Show what the daemon is made of",
  commands: [
    { ...LS, summary: "List plugins and their state", load: async () => (await import("../commands/plugins.ts")).list },
  ],
};

export const snapshots: Group = {
  name: "snapshots",
  aliases: ["snapshot"],
  summary: "Manage snapshots: the layers of file systems",
  sharedFlags: ["snapshotter"],
  commands: [
    {
      name: "commit",
      summary: "Turn an active snapshot into a committed one",
      load: async () => (await import("../commands/snapshots-change.ts")).commit,
    },
    {
      name: "diff",
      summary: "Print the layer that makes a snapshot of its parent, or of another one",
      load: async () => (await import("../commands/snapshots-diff.ts")).diff,
    },
    { name: "info", summary: "Show one snapshot", load: async () => (await import("../commands/snapshots.ts")).info },
    { ...LS, summary: "List snapshots", load: async () => (await import("../commands/snapshots.ts")).list },
    {
      name: "mounts",
      aliases: ["m", "mount"],
      summary: "Print the command that mounts a snapshot",
      load: async () => (await import("../commands/snapshots-change.ts")).mounts,
    },
    {
      name: "prepare",
      summary: "Create an active snapshot",
      load: async () => (await import("../commands/snapshots-change.ts")).prepare,
    },
    { ...RM, summary: "Remove snapshots", load: async () => (await import("../commands/snapshots-change.ts")).remove },
    {
      name: "label",
      summary: "Set and clear labels of a snapshot",
      load: async () => (await import("../commands/snapshots-change.ts")).label,
    },
    {
      name: "tree",
      summary: "Show snapshots below their parents",
      load: async () => (await import("../commands/snapshots.ts")).tree,
    },
    {
      name: "unpack",
      summary: "Unpack an image's layers, given its manifest's digest",
      load: async () => (await import("../commands/snapshots-unpack.ts")).unpack,
    },
    { name: "usage", summary: "Show disk use", load: async () => (await import("../commands/snapshots.ts")).usage },
    {
      name: "view",
      summary: "Create a read-only snapshot",
      load: async () => (await import("../commands/snapshots-change.ts")).view,
    },
  ],
};

export const tasks: Group = {
  name: "tasks",
  aliases: ["t", "task"],
  summary: "Manage tasks: what runs in containers",
  commands: [
    {
      name: "attach",
      summary: "Connect to the input and output of a running task",
      load: async () => (await import("../commands/tasks-attach.ts")).attach,
    },
    {
      name: "checkpoint",
      summary: "Write down the processes of a container, by CRIU",
      load: async () => (await import("../commands/tasks-checkpoint.ts")).checkpoint,
    },
    { ...RM, summary: "Delete tasks", load: async () => (await import("../commands/tasks-delete.ts")).remove },
    {
      name: "exec",
      summary: "Run another process in a container",
      load: async () => (await import("../commands/tasks-exec.ts")).exec,
    },
    { ...LS, summary: "List tasks", load: async () => (await import("../commands/tasks.ts")).list },
    {
      name: "kill",
      summary: "Send a signal to a container",
      load: async () => (await import("../commands/tasks-kill.ts")).kill,
    },
    {
      name: "metrics",
      aliases: ["metric"],
      summary: "Show what a task uses",
      load: async () => (await import("../commands/tasks-metrics.ts")).metrics,
    },
    { name: "pause", summary: "Freeze a container", load: async () => (await import("../commands/tasks.ts")).pause },
    {
      name: "ps",
      summary: "List the processes of a container",
      load: async () => (await import("../commands/tasks.ts")).ps,
    },
    {
      name: "resume",
      summary: "Thaw a paused container",
      load: async () => (await import("../commands/tasks.ts")).resume,
    },
    {
      name: "start",
      summary: "Start a container that was created before",
      load: async () => (await import("../commands/tasks-start.ts")).start,
    },
  ],
};
