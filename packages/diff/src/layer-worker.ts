import { parentPort } from "node:worker_threads";

import type { LayerJob, LayerOutcome, LayerSummary } from "./layer-job.ts";
import { toRemoteError } from "./remote-error.ts";
import { runApplyJob } from "./run-apply-job.ts";
import { runCompareJob } from "./run-compare-job.ts";
import { runCopyJob } from "./run-copy-job.ts";

// The entry of a worker thread: it takes one job after the other and answers each with its outcome.
parentPort?.on("message", (job: LayerJob) => {
  void run(job).then(
    (layer) => answer({ kind: "done", layer }),
    (error: unknown) => answer({ kind: "failed", error: toRemoteError(error) }),
  );
});

function run(job: LayerJob): Promise<LayerSummary> {
  if (job.kind === "apply") return runApplyJob(job);
  return job.kind === "copy" ? runCopyJob(job) : runCompareJob(job);
}

function answer(outcome: LayerOutcome): void {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- threads have no origins
  parentPort?.postMessage(outcome);
}
