import { parentPort } from "node:worker_threads";

import type { ApplyJob, ApplyOutcome } from "./apply-job.ts";
import { toRemoteError } from "./remote-error.ts";
import { runApplyJob } from "./run-apply-job.ts";

// The entry of a worker thread: it takes one job after the other and answers each with its outcome.
parentPort?.on("message", (job: ApplyJob) => {
  void runApplyJob(job).then(
    (layer) => answer({ kind: "applied", layer }),
    (error: unknown) => answer({ kind: "failed", error: toRemoteError(error) }),
  );
});

function answer(outcome: ApplyOutcome): void {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- threads have no origins
  parentPort?.postMessage(outcome);
}
