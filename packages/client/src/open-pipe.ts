import { closeSync, constants, openSync } from "node:fs";

import type { ProcessIo } from "@berth/core/runtime";
import { wrapError } from "@berth/errors";

/** This opens a named pipe without waiting for its other end, for streams of one's own (`AttachedIo`). The caller closes the descriptor. @throws not_found, permission_denied */
export function openPipe(path: string, mode: number): number {
  try {
    return openSync(path, mode | constants.O_NONBLOCK);
  } catch (error) {
    throw wrapError(error, `open pipe ${path}`);
  }
}

/**
 * This gives the pipes of a process that has ended their end where no process has ever opened them for writing, as a shim may leave
 * alone what its processes never use: their reader would wait for ever. Whoever writes to one keeps its own end.
 */
export function endUnopenedPipes({ stdout, stderr }: ProcessIo): void {
  for (const path of [stdout, stderr]) if (path.startsWith("/")) endUnopenedPipe(path);
}

function endUnopenedPipe(path: string): void {
  try {
    closeSync(openSync(path, constants.O_WRONLY | constants.O_NONBLOCK));
  } catch {
    // it is no pipe, is gone, or nobody reads it
  }
}
