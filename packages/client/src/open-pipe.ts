import { constants, openSync } from "node:fs";

import { wrapError } from "@berth/errors";

/** This opens a named pipe without waiting for its other end, for streams of one's own (`AttachedIo`). The caller closes the descriptor. @throws not_found, permission_denied */
export function openPipe(path: string, mode: number): number {
  try {
    return openSync(path, mode | constants.O_NONBLOCK);
  } catch (error) {
    throw wrapError(error, `open pipe ${path}`);
  }
}
