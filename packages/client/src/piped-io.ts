import { execFile } from "node:child_process";
import { once } from "node:events";
import { constants } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

import type { CallOptions } from "@berth/core/any";
import { raceSignal } from "@berth/core/race-signal";
import type { ProcessIo } from "@berth/core/runtime";
import { unavailable } from "@berth/errors";

import { endUnopenedPipes, openPipe } from "./open-pipe.ts";
import type { AttachedIo } from "./run-task.ts";

/** Options of {@link makePipedIo}. */
export interface PipedIoOptions extends CallOptions {
  /** Give the process a standard input; without one it has none to read from. */
  readonly stdin?: boolean;
  /** One stream for both directions of a terminal: there is no standard error. */
  readonly terminal?: boolean;
  /** Where the directory with the pipes is made; the system's own for temporary files. The daemon's shim must reach it under the same path. */
  readonly directory?: string;
}

/**
 * This makes named pipes by `mkfifo(1)`, in a directory of their own that only this user can enter, and opens this program's ends. Disposing closes and removes them.
 *
 * @throws unavailable - there is no `mkfifo`, or no room for pipes
 */
export async function makePipedIo(options: PipedIoOptions = {}): Promise<PipedIo> {
  const { stdin = false, terminal = false, directory = tmpdir(), signal } = options;
  signal?.throwIfAborted();
  const own = await mkdtemp(join(directory, "berth-io-"));
  await using undo = new AsyncDisposableStack();
  undo.defer(() => rm(own, { recursive: true, force: true }));
  const paths = {
    stdin: stdin ? join(own, "stdin") : "",
    stdout: join(own, "stdout"),
    stderr: terminal ? "" : join(own, "stderr"),
    terminal,
  };
  await makePipes([paths.stdin, paths.stdout, paths.stderr].filter((path) => path !== ""));
  // Each may find no descriptor left: those before it are closed then, and the directory goes.
  const stdout = undo.adopt(new PipeReader(paths.stdout), (reader) => reader.close());
  const stderr = terminal ? undefined : undo.adopt(new PipeReader(paths.stderr), (reader) => reader.close());
  const input = stdin ? undo.adopt(new PipeWriter(paths.stdin), (writer) => writer.close()) : undefined;
  return new PipedIo(paths, { stdout, stderr, input }, undo.move());
}

async function makePipes(paths: readonly string[]): Promise<void> {
  try {
    await promisify(execFile)("mkfifo", ["-m", "600", ...paths]);
  } catch (error) {
    throw unavailable(`make named pipes with mkfifo: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  }
}

interface OpenPipes {
  readonly stdout: PipeReader;
  readonly stderr: PipeReader | undefined;
  readonly input: PipeWriter | undefined;
}

/**
 * The streams of a process, as this program reads and writes them. What is not read waits, and so does the process once its pipe is full; what nobody has begun to
 * read when {@link PipedIo.drained} is called is thrown away.
 */
export class PipedIo implements AttachedIo {
  readonly paths: ProcessIo;
  /** Each is to be iterated once. Leaving it early throws away the rest. */
  readonly stdout: AsyncIterable<Uint8Array>;
  readonly stderr: AsyncIterable<Uint8Array>;
  readonly #input: PipeWriter | undefined;
  readonly #outputs: readonly PipeReader[];
  readonly #owned: AsyncDisposableStack;

  /** For {@link makePipedIo}, which has made and opened the pipes; `owned` closes and removes them. @internal */
  constructor(paths: ProcessIo, { stdout, stderr, input }: OpenPipes, owned: AsyncDisposableStack) {
    this.paths = paths;
    this.#owned = owned;
    this.stdout = stdout;
    this.stderr = stderr ?? noBytes();
    this.#outputs = stderr === undefined ? [stdout] : [stdout, stderr];
    this.#input = input;
  }

  /**
   * This writes to the process's standard input and resolves when it may take more. @throws unavailable - it has none, or has ended
   */
  async write(bytes: Uint8Array, options?: CallOptions): Promise<void> {
    if (this.#input === undefined) throw unavailable("the process has no standard input");
    await this.#input.write(bytes, options);
  }

  /** This closes this end of standard input, once all is in the pipe. The daemon is to be told as well: see `closeIo` of a task. */
  async endInput(options?: CallOptions): Promise<void> {
    await this.#input?.end(options);
  }

  /** This throws away what the process, which has ended, has not read: a pipe that this side holds open does not tell. */
  ended(): void {
    this.#input?.close();
  }

  /** This throws away, from now on, the output that nobody has begun to read: a process whose pipe is full does not end. */
  dropUnread(): void {
    for (const output of this.#outputs) output.dropUnread();
  }

  /** Resolves when the output of the process, which has ended, has come to its end, read or thrown away. */
  async drained(): Promise<void> {
    endUnopenedPipes(this.paths);
    await Promise.all(this.#outputs.map((output) => output.drained()));
  }

  /** This closes and removes the pipes. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#owned.disposeAsync();
  }
}

/** Reads one pipe to its end, which comes when the last process that can write to it is gone. */
class PipeReader implements AsyncIterable<Uint8Array> {
  readonly #socket: Socket;
  readonly #closed: Promise<void>;
  #isRead = false;

  constructor(path: string) {
    // Not waiting for the other end: the shim opens it when the process is made.
    this.#socket = new Socket({ fd: openPipe(path, constants.O_RDONLY), readable: true, writable: false });
    this.#socket.on("error", () => this.#socket.destroy());
    this.#closed = new Promise((resolve) => this.#socket.once("close", () => resolve()));
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    this.#isRead = true;
    try {
      for (;;) {
        // Without an encoding a socket gives bytes.
        const chunk = this.#socket.read() as Uint8Array | null;
        if (chunk !== null) yield chunk;
        else if (this.#socket.readableEnded || this.#socket.destroyed) return;
        else await eventOrClose(this.#socket, "readable", this.#closed);
      }
    } finally {
      // A pipe that is full stops the process.
      this.#socket.resume();
    }
  }

  dropUnread(): void {
    if (!this.#isRead) this.#socket.resume();
  }

  /** Resolves at the end of the pipe, which is read and thrown away unless somebody reads it. */
  async drained(): Promise<void> {
    this.dropUnread();
    await this.#closed;
  }

  close(): void {
    this.#socket.destroy();
  }
}

/** Writes to one pipe, until it is closed: that nobody reads any more does not show in the pipe itself. */
class PipeWriter {
  readonly #socket: Socket;
  readonly #closed: Promise<void>;

  constructor(path: string) {
    // For reading too: there may be no reader yet, and a pipe without one cannot be opened for writing.
    this.#socket = new Socket({ fd: openPipe(path, constants.O_RDWR), readable: false, writable: true });
    this.#socket.on("error", () => this.#socket.destroy());
    this.#closed = new Promise((resolve) => this.#socket.once("close", () => resolve()));
  }

  async write(bytes: Uint8Array, options?: CallOptions): Promise<void> {
    options?.signal?.throwIfAborted();
    if (!this.#socket.destroyed) {
      if (this.#socket.write(bytes)) return;
      await eventOrClose(this.#socket, "drain", this.#closed, options);
    }
    if (this.#socket.destroyed) throw unavailable("the process takes no more input");
  }

  async end(options?: CallOptions): Promise<void> {
    if (this.#socket.destroyed) return;
    // Called back when the pipe is closed, too.
    const written = new Promise<void>((resolve) => this.#socket.write("", () => resolve()));
    await raceSignal(written, options?.signal);
    this.#socket.destroy();
  }

  close(): void {
    this.#socket.destroy();
  }
}

/** Resolves at the next event of that name, or when the socket is closed. @throws the reason of the signal */
async function eventOrClose(socket: Socket, name: string, closed: Promise<void>, options?: CallOptions): Promise<void> {
  const stop = new AbortController();
  // Errors close it too.
  const event = once(socket, name, { signal: stop.signal }).then(
    () => {},
    () => closed,
  );
  try {
    await raceSignal(Promise.race([event, closed]), options?.signal);
  } finally {
    stop.abort();
  }
}

async function* noBytes(): AsyncGenerator<Uint8Array, void, undefined> {}
