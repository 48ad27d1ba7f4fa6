import { constants, openSync } from "node:fs";

import { wrapError } from "@berth/errors";

/** This opens a named pipe without waiting for its other end. The caller closes it. @throws not_found, permission_denied */
export function openPipe(path: string, mode: number): number {
  try {
    return openSync(path, mode | constants.O_NONBLOCK);
  } catch (error) {
    throw wrapError(error, `open pipe ${path}`);
  }
}
