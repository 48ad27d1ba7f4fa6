import { createHash } from "node:crypto";

import type { TarEntryWithContent } from "@berth/archive";

import type { BuiltImage } from "../image-builder.ts";
import { buildImage } from "../image-builder.ts";
import { seededRandom } from "./seeded-random.ts";

/** What to make of {@link faultImage}. */
export interface FaultImageRecipe {
  readonly name: string;
  /** One number per layer: layers with the same seeds from the base on are the same. */
  readonly layers: readonly number[];
  readonly filesPerLayer?: number;
  /** Files are up to twice as long. */
  readonly fileBytes?: number;
}

/** What is at a path: type and permissions, owner, and the digest of a file or the target of a link. */
export type TreeFacts = ReadonlyMap<string, string>;

/** An image, and what its layers must look like when they are unpacked. */
export interface FaultImage extends BuiltImage {
  /** Names of the snapshots, base first, each with the tree that is seen through it. */
  readonly snapshots: ReadonlyMap<string, TreeFacts>;
  /** The topmost of them. */
  readonly chainId: string;
}

/** This makes an image of files, directories, links and whiteouts, and says what it looks like unpacked. */
export async function faultImage(recipe: FaultImageRecipe): Promise<FaultImage> {
  const layers = recipe.layers.map((seed, index) => layerEntries(seed, index, recipe));
  const image = await buildImage({ name: recipe.name, layers });
  const snapshots = new Map<string, TreeFacts>();
  let chainId = "";
  let tree: TreeFacts = new Map([["", describe("directory", 0o755, "")]]);
  for (const [index, entries] of layers.entries()) {
    const diffId = image.diffIds[index] ?? "";
    chainId = chainId === "" ? diffId : `sha256:${sha256(`${chainId} ${diffId}`)}`;
    tree = stack(tree, entries);
    snapshots.set(chainId, tree);
  }
  return { ...image, snapshots, chainId };
}

function layerEntries(seed: number, index: number, recipe: FaultImageRecipe): TarEntryWithContent[] {
  const random = seededRandom(seed);
  const { filesPerLayer = 24, fileBytes = 6000 } = recipe;
  const entries: TarEntryWithContent[] = [
    { path: "shared/", type: "directory", mode: 0o755 },
    file("shared/same name", random.bytes(1000 + index), 0o600),
    { path: `layer${index}/`, type: "directory", mode: 0o750 },
  ];
  if (index > 0) {
    // What the layer below calls so is gone.
    entries.push({ path: `layer${index - 1}/`, type: "directory", mode: 0o750 });
    entries.push(file(`layer${index - 1}/.wh.file0`, new Uint8Array(), 0o644));
  }
  for (let number = 0; number < filesPerLayer; number++) {
    const bytes = random.bytes(random.below(2 * fileBytes));
    entries.push(file(`layer${index}/file${number}`, bytes, random.pick([0o644, 0o755, 0o4711]), random.below(3)));
  }
  entries.push({ path: `layer${index}/link`, type: "symlink", linkPath: "file1" });
  entries.push({ path: `layer${index}/hard`, type: "link", linkPath: `layer${index}/file2` });
  return entries;
}

function file(path: string, content: Uint8Array, mode: number, uid = 0): TarEntryWithContent {
  return { path, type: "file", size: content.length, content, mode, uid, gid: uid };
}

function stack(below: TreeFacts, entries: readonly TarEntryWithContent[]): TreeFacts {
  const tree = new Map(below);
  for (const { path, type, mode = 0, uid = 0, linkPath, content } of entries) {
    const name = String(path).replace(/\/$/, "");
    if (name.includes(".wh.")) tree.delete(name.replace(".wh.", ""));
    else if (type === "link") tree.set(name, tree.get(String(linkPath)) ?? "");
    else if (type === "symlink") tree.set(name, describe(type, 0o777, String(linkPath)));
    else tree.set(name, describe(type, mode, content instanceof Uint8Array ? sha256(content) : "", uid));
  }
  return tree;
}

const TYPE_BITS: Readonly<Record<string, number>> = { directory: 0o040000, file: 0o100000, symlink: 0o120000 };

/** As `listTree` has it, in one line. */
function describe(type: string, mode: number, content: string, uid = 0): string {
  return `${((TYPE_BITS[type] ?? 0) | mode).toString(8)} ${uid}:${uid} ${content}`;
}

function sha256(data: string | Uint8Array): string {
  return createHash("sha256").update(data).digest("hex");
}
