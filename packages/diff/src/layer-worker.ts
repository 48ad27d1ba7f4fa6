import { parentPort } from "node:worker_threads";

import type { LayerAnswer, LayerJob, LayerOutcome, LayerRequest, LayerSummary } from "./layer-job.ts";
import { toRemoteError } from "./remote-error.ts";
import { runApplyJob } from "./run-apply-job.ts";
import { runCompareJob } from "./run-compare-job.ts";
import { runCopyJob } from "./run-copy-job.ts";

// The entry of a worker thread: it answers each job with its outcome. It has several only while all but one wait for their bytes.
parentPort?.on("message", ({ job, work }: LayerRequest) => {
  void run(work).then(
    (layer) => answer(job, { kind: "done", layer }),
    (error: unknown) => answer(job, { kind: "failed", error: toRemoteError(error) }),
  );
});

function run(job: LayerJob): Promise<LayerSummary> {
  if (job.kind === "apply") return runApplyJob(job);
  return job.kind === "copy" ? runCopyJob(job) : runCompareJob(job);
}

function answer(job: number, outcome: LayerOutcome): void {
  const message: LayerAnswer = { job, outcome };
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- threads have no origins
  parentPort?.postMessage(message);
}
