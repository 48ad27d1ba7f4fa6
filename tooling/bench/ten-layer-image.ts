import { existsSync } from "node:fs";
import { rename, writeFile } from "node:fs/promises";
import { join } from "node:path";

import type { ImageRecipe } from "@berth/testing";
import { buildImage, temporaryDirectory } from "@berth/testing";

import { directoryEntries } from "./directory-entries.ts";
import { minbaseImage } from "./minbase-image.ts";
import { mustRun } from "./must-run.ts";

type LayerEntry = ImageRecipe["layers"][number][number];

const LAYERS = 10;
/** Of files, which gzip makes a layer of about 50 MB of. */
const LAYER_FILE_BYTES = 115e6;

/** What the image is called. */
export const TEN_LAYER_IMAGE = "example.org/berth/ten-layers:1";

/**
 * This returns the path of an OCI archive with ten gzip layers of about 50 MB: in each one the same part of a Debian minbase,
 * below a directory of its own. It is made once and kept in the checkout's cache.
 */
export async function tenLayerImage(progress: (text: string) => void): Promise<string> {
  const minbase = await minbaseImage(progress);
  const archive = join(minbase, "..", "ten-layers.tar");
  if (existsSync(archive)) return archive;
  progress("making an image of ten layers, once");
  const part = await partOf(minbase);
  const image = await buildImage({
    name: TEN_LAYER_IMAGE,
    layers: Array.from({ length: LAYERS }, (_, index) => below(`layer-${index}`, part)),
    config: { Cmd: ["true"] },
  });
  await writeFile(`${archive}.partial`, image.archive);
  await rename(`${archive}.partial`, archive);
  return archive;
}

/** The first files of an image of one layer, as many as a layer is to have. */
async function partOf(archive: string): Promise<LayerEntry[]> {
  await using temporary = await temporaryDirectory("ten-layers");
  const [layout, tree] = [join(temporary.path, "layout"), join(temporary.path, "tree")];
  await mustRun("mkdir", [layout, tree]);
  await mustRun("tar", ["-xf", archive, "-C", layout]);
  const blobs = (await mustRun("ls", ["-S", join(layout, "blobs", "sha256")])).split("\n");
  await mustRun("tar", ["-xzf", join(layout, "blobs", "sha256", blobs[0] ?? ""), "-C", tree]);
  let bytes = 0;
  const entries = await directoryEntries(tree);
  return entries.filter((entry) => entry.type !== "file" || (bytes += entry.size ?? 0) <= LAYER_FILE_BYTES);
}

/** Hard links to what is left out are left out too. */
function below(directory: string, entries: readonly LayerEntry[]): LayerEntry[] {
  const paths = new Set(entries.map(({ path }) => path));
  const kept = entries.filter((entry) => entry.type !== "link" || paths.has(entry.linkPath ?? ""));
  const root: LayerEntry = { path: `${directory}/`, type: "directory", mode: 0o755 };
  return [root, ...kept.map((entry) => moved(directory, entry))];
}

function moved(directory: string, entry: LayerEntry): LayerEntry {
  const path = `${directory}/${entry.path}`;
  return entry.type === "link" ? { ...entry, path, linkPath: `${directory}/${entry.linkPath}` } : { ...entry, path };
}
