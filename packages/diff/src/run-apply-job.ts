import { createTarReader } from "@berth/archive";

import type { ApplyJob, LayerPlace, LayerSummary } from "./layer-job.ts";
import { LayerRoot } from "./layer-root.ts";
import { LayerWriter } from "./layer-writer.ts";
import { pourLayer } from "./pour-layer.ts";
import { Warnings } from "./warnings.ts";
import { NaiveWhiteouts, OverlayWhiteouts, type Whiteouts } from "./whiteouts.ts";

const MIB = 1024 ** 2;

/**
 * This applies one layer in the calling thread: decompress, hash, parse, make files. Only decompression and reading
 * happen elsewhere, ahead of it.
 *
 * @throws canceled - the job's flag was raised
 */
export async function runApplyJob(job: ApplyJob): Promise<LayerSummary> {
  const warnings = new Warnings();
  using root = new LayerRoot(job.place.root, job.place.lowers);
  using writer = new LayerWriter(root, whiteoutsOf(job.place, root), warnings.add);
  const tar = createTarReader(writer, job.budgets.tar);
  let size = 0;
  const summary = await pourLayer(job, (bytes) => {
    tar.write(bytes);
    size += bytes.length;
    Atomics.store(job.unpacked, 0, Math.floor(size / MIB));
  });
  tar.end();
  writer.finish();
  return { ...summary, impliedDirectories: root.impliedDirectories, ...warnings.summary };
}

function whiteoutsOf(place: LayerPlace, root: LayerRoot): Whiteouts {
  return place.whiteouts === "overlay" ? new OverlayWhiteouts(place.userXattr) : new NaiveWhiteouts(root);
}
