import { parentPort } from "node:worker_threads";

import { runTreeJob, type TreeJob } from "./files/tree-job.ts";

// The thread of a `TreeWorkers`: each job is answered by one message.
parentPort?.on("message", (job: TreeJob) => {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- threads have no origins
  void runTreeJob(job).then((outcome) => parentPort?.postMessage(outcome));
});
