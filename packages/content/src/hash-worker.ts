// A thread that hashes files, one after the other, and tells of each whether its bytes are those of its digest.
import { createHash } from "node:crypto";
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { setPriority } from "node:os";
import { parentPort, workerData } from "node:worker_threads";

import { messageOf, systemErrorCode } from "@berth/errors";
import { digestAlgorithm, formatDigest } from "@berth/oci";

import type { HashJob, HashOutcome } from "./hash-job.ts";

// On Linux this is the priority of the calling thread alone. Nobody waits for the outcome.
setPriority(0, 19);

const buffer = Buffer.allocUnsafeSlow(1 << 20);

function hash({ path, digest }: HashJob): HashOutcome {
  let file: number;
  try {
    file = openSync(path, "r");
  } catch (error) {
    if (systemErrorCode(error) === "ENOENT") return { digest, outcome: "gone" };
    return { digest, outcome: "unreadable", reason: messageOf(error) };
  }
  try {
    const inode = fstatSync(file).ino;
    try {
      const algorithm = digestAlgorithm(digest);
      const sum = createHash(algorithm);
      for (let read = readSync(file, buffer); read > 0; read = readSync(file, buffer))
        sum.update(buffer.subarray(0, read));
      const actual = formatDigest(algorithm, sum.digest("hex"));
      if (actual === digest) return { digest, outcome: "sound" };
      return { digest, outcome: "damaged", inode, reason: `its bytes have digest ${actual}` };
    } catch (error) {
      if (systemErrorCode(error) === "EIO") return { digest, outcome: "damaged", inode, reason: messageOf(error) };
      return { digest, outcome: "unreadable", reason: messageOf(error) };
    }
  } finally {
    closeSync(file);
  }
}

// Jobs are what this was started with.
for (const job of workerData as readonly HashJob[]) {
  const outcome = hash(job);
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- threads have no origins
  parentPort?.postMessage(outcome);
}
