import { constants, fstatSync, openSync, statSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { Socket } from "node:net";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { makeDirectories } from "@berth/core/make-directories";
import { invalidArgument, systemErrorCode } from "@berth/errors";
import { closeFd } from "@berth/linux/files";

/** Takes bytes; a write resolves when they have been handed on, so that a slow taker slows its giver. */
export interface ByteSink {
  write(bytes: Uint8Array): Promise<void>;
  /** This gives up what is still to be written. Safe to call twice. */
  close(): void;
}

const FIRST_PAUSE_MS = 5;
const LONGEST_PAUSE_MS = 100;

/** This turns a descriptor of a pipe or FIFO into a sink, which then owns it. */
export function pipeSink(descriptor: number, onClose: () => void = () => {}): ByteSink {
  const socket = new Socket({ fd: descriptor, readable: false, writable: true });
  // each write tells its own error
  socket.on("error", () => {});
  socket.once("close", onClose);
  return {
    write: (bytes) =>
      new Promise((resolve, reject) => {
        // destroying a socket forgets the callback of a write that waits
        socket.once("close", resolve);
        socket.write(bytes, (error) => {
          socket.off("close", resolve);
          if (error) reject(error);
          else resolve();
        });
      }),
    close: () => void socket.destroy(),
  };
}

/**
 * This opens a FIFO for writing as soon as somebody reads it, without ever blocking a thread.
 *
 * From then on it keeps a reading end of its own: readers may go and others come without an end in between.
 * @throws invalid_argument - there is no FIFO
 */
async function openFifoSink(path: string, options: { readonly signal: AbortSignal }): Promise<ByteSink> {
  let pause = FIRST_PAUSE_MS;
  for (;;) {
    const writer = tryOpenWriter(path);
    if (writer !== undefined) {
      const keeper = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
      return pipeSink(writer, () => closeFd(keeper));
    }
    await sleep(pause, undefined, { signal: options.signal });
    pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
  }
}

function tryOpenWriter(path: string): number | undefined {
  try {
    const descriptor = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
    if (fstatSync(descriptor).isFIFO()) return descriptor;
    closeFd(descriptor);
  } catch (error) {
    if (systemErrorCode(error) === "ENXIO") return undefined;
    throw error;
  }
  throw invalidArgument(`stdio ${path}: not a FIFO`);
}

/** How a copy comes to its taker, which may be there or come later. */
export type OpenSink = (options: { readonly signal: AbortSignal }) => Promise<ByteSink>;

/**
 * This opens what output goes to by a path: a FIFO as soon as somebody reads it, anything else now, to append to.
 * @throws not_found and more - the path leads to nothing that can be written to
 */
export async function preparePathSink(path: string): Promise<ByteSink | OpenSink> {
  if (statSync(path).isFIFO()) return (options) => openFifoSink(path, options);
  return fileSink(await open(path, APPEND));
}

// non-blocking: an open of a FIFO that nobody reads would hold a thread of the pool for ever
const APPEND = constants.O_WRONLY | constants.O_APPEND | constants.O_NONBLOCK;

/**
 * This opens a file to append to, and makes it and its directories where they are missing.
 * @throws invalid_argument - there is a FIFO
 */
export async function openFileSink(path: string): Promise<ByteSink> {
  await makeDirectories(dirname(path), 0o755);
  let file: FileHandle;
  try {
    file = await open(path, APPEND | constants.O_CREAT, 0o644);
  } catch (error) {
    if (systemErrorCode(error) === "ENXIO") throw invalidArgument(`stdio ${path}: not a file`, { cause: error });
    throw error;
  }
  if ((await file.stat()).isFIFO()) {
    await file.close();
    throw invalidArgument(`stdio ${path}: not a file`);
  }
  return fileSink(file);
}

function fileSink(file: FileHandle): ByteSink {
  const closing = new AbortController();
  const close = (): void => {
    closing.abort();
    void file.close().catch(() => {});
  };
  return { write: (bytes) => appendAll(file, bytes, { signal: closing.signal }), close };
}

/** This writes all, or until it is aborted. A device takes no more for a while when its own reader is slow. */
async function appendAll(
  file: FileHandle,
  bytes: Uint8Array,
  { signal }: { readonly signal: AbortSignal },
): Promise<void> {
  let pause = FIRST_PAUSE_MS;
  for (let rest = bytes; rest.length > 0 && !signal.aborted;) {
    try {
      const { bytesWritten } = await file.write(rest);
      rest = rest.subarray(bytesWritten);
      pause = FIRST_PAUSE_MS;
    } catch (error) {
      if (systemErrorCode(error) !== "EAGAIN") throw error;
      await sleep(pause, undefined, { signal }).catch(() => {});
      pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
    }
  }
}
