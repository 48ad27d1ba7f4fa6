import { closeSync, constants, openSync } from "node:fs";

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
 * This gives a named pipe its end that no process has ever opened for writing: its reader would wait for ever. One that somebody writes
 * to keeps its own end.
 */
export function endUnopenedPipe(path: string): void {
  try {
    closeSync(openSync(path, constants.O_WRONLY | constants.O_NONBLOCK));
  } catch {
    // it is no pipe, is gone, or nobody reads it
  }
}
