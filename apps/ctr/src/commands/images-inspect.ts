import type { CallOptions } from "@berth/core/any";
import type { ContentStore } from "@berth/core/content";
import { readBlob } from "@berth/core/content";
import { isNotFound, resourceExhausted } from "@berth/errors";
import { children, MAX_JSON_BYTES } from "@berth/images";
import type { Descriptor } from "@berth/oci";
import { formatPlatform, isIndexType } from "@berth/oci";

import { requireArgument } from "../cli/arguments.ts";
import { defineCommand } from "../cli/command.ts";
import { booleanFlag } from "../cli/flags.ts";
import { print } from "../output/print.ts";
import { formatInstant } from "../output/time.ts";

/** Deeper than any image that is of use. */
const MAX_DEPTH = 8;
/** Of a hundred platforms with a hundred layers each. Indexes that name each other many times would be a tree without end, though each is small. */
const MAX_NODES = 10_000;
const [MIDDLE, LAST, SKIP, SPACER] = ["├── ", "└── ", "│   ", "    "];

export const inspect = defineCommand({
  usage: "<image>",
  description: "Shows what an image consists of, as a tree, and what of it is not here.",
  flags: { content: booleanFlag("print manifests and configurations too") },
  async run({ flags, args, session }) {
    const name = requireArgument(args, 0, "no image given");
    const client = await session.client();
    const { signal } = session;
    const { target, labels, createdAt, updatedAt } = await client.images.get(name, { signal });
    print(`${name}\n${SKIP} Created: ${instant(createdAt)}\n${SKIP} Updated: ${instant(updatedAt)}\n`);
    for (const [key, value] of [...labels].toSorted())
      print(`${SKIP} Label ${JSON.stringify(key)}: ${JSON.stringify(value)}\n`);
    const tree: Tree = { content: client.content, withContent: flags.content, nodesLeft: MAX_NODES, signal };
    await printTree(tree, target, { own: LAST, below: SPACER, depth: 0 });
  },
});

interface Tree extends CallOptions {
  readonly content: ContentStore;
  readonly withContent: boolean;
  /** So many descriptors are shown yet. */
  nodesLeft: number;
}

/** What stands before a node, and before all that is below it. */
interface Place {
  readonly own: string;
  readonly below: string;
  readonly depth: number;
}

/** @see containerd pkg/display/manifest_printer.go */
async function printTree(tree: Tree, descriptor: Descriptor, { own, below, depth }: Place): Promise<void> {
  const { platform } = descriptor;
  print(`${own}${describe(descriptor)}\n`);
  if (platform !== undefined && platform.architecture !== "")
    print(`${below}${SKIP} Platform: ${formatPlatform(platform)}\n`);
  if (!(await isHere(tree, descriptor))) {
    print(`${below}${LAST} Content does not exist locally, skipping\n`);
    return;
  }
  await printContent(tree, descriptor, `${below}${SKIP}`);
  if (depth === MAX_DEPTH) return;
  const parts = await children(tree.content, descriptor, tree);
  for (const [index, part] of parts.entries()) {
    const isLast = index === parts.length - 1;
    if ((tree.nodesLeft -= 1) < 0) throw resourceExhausted(`image has more than ${MAX_NODES} parts`);
    const place = { own: `${below}${isLast ? LAST : MIDDLE}`, below: `${below}${isLast ? SPACER : SKIP}` };
    if (isIndexType(descriptor.mediaType)) await printTree(tree, part, { ...place, depth: depth + 1 });
    else await printPart(tree, part, place);
  }
}

/** A configuration or a layer. */
async function printPart(tree: Tree, descriptor: Descriptor, { own, below }: Omit<Place, "depth">): Promise<void> {
  const found = await isHere(tree, descriptor);
  print(`${own}${describe(descriptor, found ? "" : ", not here")}\n`);
  if (found && isJson(descriptor)) await printContent(tree, descriptor, below);
}

function describe({ mediaType, digest, size }: Descriptor, note = ""): string {
  return `${mediaType} @${digest} (${size} bytes${note})`;
}

async function isHere({ content, signal }: Tree, { digest }: Descriptor): Promise<boolean> {
  try {
    await content.info(digest, { signal });
    return true;
  } catch (error) {
    if (isNotFound(error)) return false;
    throw error;
  }
}

async function printContent(tree: Tree, descriptor: Descriptor, before: string): Promise<void> {
  if (!tree.withContent) return;
  const { content, signal } = tree;
  const { labels } = await content.info(descriptor.digest, { signal });
  const quoted = [...labels].toSorted().map(([key, value]) => `${JSON.stringify(key)}: ${JSON.stringify(value)}`);
  if (quoted.length > 0) printBox("Labels─", quoted, before);
  if (!isJson(descriptor)) return;
  const bytes = await readBlob(content, descriptor.digest, { signal, limitBytes: MAX_JSON_BYTES });
  const text = JSON.stringify(JSON.parse(new TextDecoder().decode(bytes)), undefined, 3);
  printBox("Content", text.split("\n"), before);
}

function printBox(title: string, lines: readonly string[], before: string): void {
  print(`${before}┌────────${title}────────\n`);
  for (const line of lines) print(`${before}│${line}\n`);
  print(`${before}└───────────────────────\n`);
}

function isJson({ mediaType }: Descriptor): boolean {
  return mediaType.endsWith("json");
}

function instant(timeMs: number): string {
  return formatInstant(BigInt(timeMs) * 1_000_000n);
}
