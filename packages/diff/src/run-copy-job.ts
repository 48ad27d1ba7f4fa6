import { writeSync } from "node:fs";

import { createTarReader, ImpliedDirectories } from "@berth/archive";

import { describeDirectories } from "./describe-directories.ts";
import type { CopyJob, LayerSummary } from "./layer-job.ts";
import { fromBytes } from "./native-name.ts";
import { pourLayer } from "./pour-layer.ts";

/** This writes the uncompressed bytes of one layer to the job's descriptor, in the calling thread. */
export async function runCopyJob(job: CopyJob): Promise<LayerSummary> {
  const { directories } = job;
  const write = (bytes: Uint8Array): void => {
    for (let at = 0; at < bytes.length;) at += writeSync(job.fd, bytes, at);
  };
  if (directories !== undefined) for (const header of describeDirectories(directories)) write(header);
  const implied = directories?.find === true ? new ImpliedDirectories() : undefined;
  // That the archive is whole is for its reader to say.
  const tar = implied === undefined ? undefined : createTarReader(implied, job.budgets.tar);
  const summary = await pourLayer(job, (bytes) => {
    tar?.write(bytes);
    write(bytes);
  });
  const undescribed = implied === undefined ? [] : Array.from(implied.paths(), fromBytes);
  return { ...summary, impliedDirectories: undescribed.length, undescribed, warnings: [], warningCount: 0 };
}
