import { once } from "node:events";
import { constants } from "node:fs";
import { Socket } from "node:net";

import type { AttachedIo } from "@berth/client/run";
import { endUnopenedPipes, openPipe } from "@berth/client/run";
import type { ProcessIo } from "@berth/core/runtime";

/** How to connect this process's own streams to the pipes of another. */
export interface StandardStreamsOptions {
  readonly paths: ProcessIo;
  /** Called when the own standard output or error is closed by its reader: nobody listens any more. */
  readonly onReaderGone: () => void;
  /** Disposed with the streams. */
  readonly owner?: AsyncDisposable;
}

/**
 * This process's standard streams, connected to the pipes of a process in a container. Output flows from the start; input from
 * {@link begin}. The pipes are opened without blocking and without waiting for their other ends.
 */
export class StandardStreams implements AttachedIo {
  readonly paths: ProcessIo;
  readonly #owner: AsyncDisposable | undefined;
  readonly #input: Socket | undefined;
  readonly #outputs: readonly Socket[];
  readonly #ended: Promise<unknown>;

  /** @throws not_found, permission_denied - a pipe cannot be opened */
  constructor({ paths, onReaderGone, owner }: StandardStreamsOptions) {
    this.paths = paths;
    this.#owner = owner;
    const pairs: readonly (readonly [string, NodeJS.WriteStream])[] = [
      [paths.stdout, process.stdout],
      [paths.stderr, process.stderr],
    ];
    const used = pairs.filter(([path]) => path !== "");
    const outputs = used.map(([path, target]) => ({ source: openOutput(path), target }));
    this.#outputs = outputs.map(({ source }) => source);
    this.#ended = Promise.all(outputs.map(({ source, target }) => copyOutput(source, target, onReaderGone)));
    this.#input = paths.stdin === "" ? undefined : openInput(paths.stdin);
  }

  /** This starts to pass on standard input; at its end `closeStdin` is called, once everything is in the pipe. */
  begin(closeStdin: () => Promise<void>): void {
    if (this.#input !== undefined) void copyInput(this.#input, closeStdin);
  }

  /** Resolves when the process, which has ended, and all its children have closed their output, and it has been written. */
  async drained(): Promise<void> {
    endUnopenedPipes(this.paths);
    await this.#ended;
  }

  /** The pipes stay, for `tasks attach`. */
  leave(): void {
    if (this.#input !== undefined) {
      this.#input.destroy();
      // What is open keeps this process alive.
      process.stdin.destroy();
    }
    for (const output of this.#outputs) output.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.leave();
    await this.#owner?.[Symbol.asyncDispose]();
  }
}

function openOutput(path: string): Socket {
  return new Socket({ fd: openPipe(path, constants.O_RDONLY), readable: true, writable: false });
}

/** Opened for reading too: there may be no reader yet, and a pipe without one cannot be opened for writing. */
function openInput(path: string): Socket {
  const socket = new Socket({ fd: openPipe(path, constants.O_RDWR), readable: false, writable: true });
  socket.on("error", () => socket.destroy());
  return socket;
}

/** Resolves when the pipe has been read to its end and written, or destroyed. */
async function copyOutput(source: Socket, target: NodeJS.WriteStream, onReaderGone: () => void): Promise<void> {
  const closed = new Promise<void>((resolve) => source.once("close", () => resolve()));
  source.on("error", () => source.destroy());
  const onError = (): void => {
    // Read on: a process whose output is stuck does not end.
    source.unpipe(target);
    source.resume();
    onReaderGone();
  };
  target.once("error", onError);
  source.pipe(target, { end: false });
  await closed;
  target.off("error", onError);
  if (target.writableLength > 0) await new Promise<void>((resolve) => target.write("", () => resolve()));
}

async function copyInput(target: Socket, closeStdin: () => Promise<void>): Promise<void> {
  try {
    for await (const chunk of process.stdin) {
      if (!target.write(chunk)) await once(target, "drain");
    }
    await new Promise<void>((resolve) => target.write("", () => resolve()));
    target.destroy();
    await closeStdin();
  } catch {
    // The process has ended, or the terminal is gone: there is nobody to tell.
  }
}
