import { writeSync } from "node:fs";

import type { CopyJob, LayerSummary } from "./layer-job.ts";
import { pourLayer } from "./pour-layer.ts";

/** This writes the uncompressed bytes of one layer to the job's descriptor, in the calling thread. */
export async function runCopyJob(job: CopyJob): Promise<LayerSummary> {
  const summary = await pourLayer(job, (bytes) => {
    for (let at = 0; at < bytes.length;) at += writeSync(job.fd, bytes, at);
  });
  return { ...summary, impliedDirectories: 0, warnings: [], warningCount: 0 };
}
