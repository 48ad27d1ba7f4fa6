import type { Group, Leaf } from "./command-entry.ts";

const fetchCommand = (
  name: string,
  summary: string,
  key: keyof typeof import("../commands/content-fetch.ts"),
): Leaf => ({
  name,
  summary,
  load: async () => (await import("../commands/content-fetch.ts"))[key],
});

export const content: Group = {
  name: "content",
  summary: "Manage the content store: blobs by digest",
  commands: [
    {
      name: "active",
      summary: "List writes under way",
      load: async () => (await import("../commands/content.ts")).active,
    },
    {
      name: "delete",
      aliases: ["del", "remove", "rm"],
      summary: "Delete blobs",
      load: async () => (await import("../commands/content.ts")).remove,
    },
    {
      name: "edit",
      summary: "Edit a blob and store the result",
      load: async () => (await import("../commands/content-edit.ts")).edit,
    },
    fetchCommand("fetch", "Download an image's content without unpacking it", "fetch"),
    fetchCommand("fetch-object", "Write what a reference stands for to standard output", "fetchObject"),
    fetchCommand("fetch-blob", "Write blobs of a registry to standard output", "fetchBlob"),
    {
      name: "get",
      summary: "Write a blob to standard output",
      load: async () => (await import("../commands/content-transfer.ts")).get,
    },
    {
      name: "ingest",
      summary: "Store standard input as a blob",
      load: async () => (await import("../commands/content-transfer.ts")).ingest,
    },
    {
      name: "list",
      aliases: ["ls"],
      summary: "List blobs",
      load: async () => (await import("../commands/content.ts")).list,
    },
    fetchCommand("push-object", "Upload one blob to a registry", "pushObject"),
    {
      name: "label",
      summary: "Set and clear labels of a blob",
      load: async () => (await import("../commands/content.ts")).label,
    },
    {
      name: "prune",
      summary: "Free content that is not needed any more",
      commands: [
        {
          name: "references",
          summary: "Let go of the compressed layers of images",
          load: async () => (await import("../commands/content-prune.ts")).references,
        },
      ],
    },
  ],
};
