import { closeSync, constants, openSync } from "node:fs";
import { Socket } from "node:net";

import type { Logger } from "@berth/core/log";
import { systemErrorCode } from "@berth/errors";
import { mkfifo } from "@berth/linux/files";

import type { Bundle } from "./bundle.ts";
import { LineSplitter } from "./line-splitter.ts";
import { parseLogLine } from "./log-line.ts";

const MAX_LINE_BYTES = 16 * 1024;

/**
 * This makes the FIFO of a bundle to which a shim writes its log, and copies each line into the daemon's, until disposed. The lines of a pool
 * say themselves which container they are about: the bundle is only that of the one that came last.
 *
 * It is open for reading and writing: a shim that opens its end never waits, and the end of one shim is not the end of the FIFO.
 */
export function copyShimLog(
  { namespace, id, logPath: path }: Bundle,
  daemonLog: Logger,
  { isPooled = false } = {},
): AsyncDisposable {
  const log = daemonLog.with(isPooled ? { namespace } : { namespace, id });
  try {
    mkfifo(path, 0o700);
  } catch (error) {
    if (systemErrorCode(error) !== "EEXIST") throw error;
  }
  const fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  let socket: Socket;
  try {
    socket = new Socket({ fd, readable: true, writable: false });
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  const lines = new LineSplitter(MAX_LINE_BYTES, (line) => {
    const { level, message, fields } = parseLogLine(line);
    log[level](message, fields);
  });
  socket.on("data", (chunk: Uint8Array) => lines.push(chunk));
  socket.on("error", (error) => log.debug("shim log ended", { error }));
  // The log alone keeps no daemon alive.
  socket.unref();
  return {
    [Symbol.asyncDispose]: async () => {
      socket.destroy();
      lines.end();
    },
  };
}
