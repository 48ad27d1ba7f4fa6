import type { ContentStore } from "@berth/core/content";
import { readBlob } from "@berth/core/content";
import { isNotFound } from "@berth/errors";
import { children, MAX_JSON_BYTES } from "@berth/images";
import type { Descriptor } from "@berth/oci";
import { formatPlatform, isConfigType, isIndexType, isManifestType } from "@berth/oci";

import { requireArgument } from "../cli/arguments.ts";
import { defineCommand } from "../cli/command.ts";
import { booleanFlag } from "../cli/flags.ts";
import { formatLabels } from "../output/label-list.ts";
import { print } from "../output/print.ts";
import { formatBinarySize } from "../output/size.ts";

/** Deeper than any image that is of use. */
const MAX_DEPTH = 8;

export const inspect = defineCommand({
  usage: "<image>",
  description: "Shows what an image consists of, as a tree, and what of it is not here.",
  flags: { content: booleanFlag("print manifests and configurations too") },
  async run({ flags, args, session }) {
    const name = requireArgument(args, 0, "no image given");
    const client = await session.client();
    const { signal } = session;
    const { target, labels } = await client.images.get(name, { signal });
    print(`${name}\n`);
    if (labels.size > 0) print(`labels: ${formatLabels(labels)}\n`);
    const tree: Tree = { content: client.content, withContent: flags.content, signal };
    await printNode(tree, target, { indent: "", isLast: true, depth: 0 });
  },
});

interface Tree {
  readonly content: ContentStore;
  readonly withContent: boolean;
  readonly signal: AbortSignal;
}

interface Place {
  readonly indent: string;
  readonly isLast: boolean;
  readonly depth: number;
}

async function printNode(tree: Tree, descriptor: Descriptor, { indent, isLast, depth }: Place): Promise<void> {
  const { mediaType, digest, size, platform } = descriptor;
  const below = await childrenOf(tree, descriptor);
  const notes = [
    formatBinarySize(size),
    ...(platform === undefined ? [] : [formatPlatform(platform)]),
    ...(below === undefined ? ["not here"] : []),
  ];
  print(`${indent}${isLast ? "└── " : "├── "}${mediaType} @${digest} (${notes.join(", ")})\n`);
  if (below === undefined || depth === MAX_DEPTH) return;
  const deeper = `${indent}${isLast ? "    " : "│   "}`;
  if (tree.withContent) await printContent(tree, descriptor, `${deeper}${below.length > 0 ? "│   " : "    "}`);
  for (const [index, child] of below.entries())
    await printNode(tree, child, { indent: deeper, isLast: index === below.length - 1, depth: depth + 1 });
}

/** `undefined` for what is not in the store. */
async function childrenOf(
  { content, signal }: Tree,
  descriptor: Descriptor,
): Promise<readonly Descriptor[] | undefined> {
  try {
    await content.info(descriptor.digest, { signal });
    return await children(content, descriptor, { signal });
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

async function printContent({ content, signal }: Tree, descriptor: Descriptor, indent: string): Promise<void> {
  const { mediaType, digest } = descriptor;
  if (![isIndexType, isManifestType, isConfigType].some((isDocument) => isDocument(mediaType))) return;
  const bytes = await readBlob(content, digest, { signal, limitBytes: MAX_JSON_BYTES });
  const text = JSON.stringify(JSON.parse(new TextDecoder().decode(bytes)), undefined, 2);
  for (const line of text.split("\n")) print(`${indent}${line}\n`);
}
