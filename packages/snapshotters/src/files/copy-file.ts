import { closeSync, constants, fsyncSync, openSync } from "node:fs";

import { copySparse } from "@berth/linux/files";

import type { Checkpoint } from "./checkpoint.ts";

/** This copies one file to a new name, mode 0600, holes as holes, and puts it on disk. It blocks the thread. */
export function copyFile(from: string, to: string, checkpoint: Checkpoint): void {
  using open = new DisposableStack();
  const source = open.adopt(openSync(from, constants.O_RDONLY | constants.O_NOFOLLOW), closeSync);
  const target = open.adopt(openSync(to, "wx", 0o600), closeSync);
  copySparse(source, target, checkpoint);
  fsyncSync(target);
}
