import { constants, fstatSync, openSync, write } from "node:fs";
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
export async function openFifoSink(path: string, options: { readonly signal: AbortSignal }): Promise<ByteSink> {
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

// non-blocking: an open of a FIFO that nobody reads would hold a thread of the pool for ever
const APPEND = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NONBLOCK;

/**
 * This opens a file to append to, and makes it and its directories where they are missing.
 * @throws invalid_argument - there is a FIFO
 */
export async function openFileSink(path: string): Promise<ByteSink> {
  await makeDirectories(dirname(path), 0o755);
  let file: FileHandle;
  try {
    file = await open(path, APPEND, 0o644);
  } catch (error) {
    if (systemErrorCode(error) === "ENXIO") throw invalidArgument(`stdio ${path}: not a file`, { cause: error });
    throw error;
  }
  if ((await file.stat()).isFIFO()) {
    await file.close();
    throw invalidArgument(`stdio ${path}: not a file`);
  }
  const close = (): void => void file.close().catch(() => {});
  return { write: (bytes) => file.appendFile(bytes), close };
}

/** Two streams into one: it closes when both have. */
export function shareSink(sink: ByteSink): readonly [ByteSink, ByteSink] {
  let users = 2;
  const user = (): ByteSink => {
    let open = true;
    const close = (): void => {
      if (open && (users -= 1) === 0) sink.close();
      open = false;
    };
    return { write: (bytes) => sink.write(bytes), close };
  };
  return [user(), user()];
}

/** This makes a sink of a terminal's master side, which it does not own. */
export function terminalSink(master: number): ByteSink {
  let open = true;
  const close = (): void => {
    open = false;
  };
  const put = async (bytes: Uint8Array): Promise<void> => {
    for (let rest = bytes; rest.length > 0 && open;) {
      const written = await writeSome(master, rest);
      rest = rest.subarray(written);
      // the terminal is full: nobody reads its other side now
      if (written === 0) await sleep(FIRST_PAUSE_MS);
    }
  };
  return { write: put, close };
}

function writeSome(descriptor: number, bytes: Uint8Array): Promise<number> {
  return new Promise((resolve, reject) => {
    write(descriptor, bytes, (error, written) => {
      if (!error) resolve(written);
      else if (systemErrorCode(error) === "EAGAIN") resolve(0);
      else reject(error);
    });
  });
}
