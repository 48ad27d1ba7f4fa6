import { mkdtempSync, readSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { ReadStream } from "node:tty";

import { deadlineExceeded, systemErrorCode } from "@berth/errors";
import { closeFd, dup, setNonBlocking } from "@berth/linux/files";
import { listenConsoleSocket } from "@berth/linux/sockets";
import { resizePty } from "@berth/linux/terminal";

import type { ByteSink } from "./byte-sink.ts";
import type { ByteSource } from "./copy-bytes.ts";

const RECEIVE_TIMEOUT_MS = 10_000;
const FULL_PAUSE_MS = 5;
const FIRST_HANGUP_PAUSE_MS = 20;
const LONGEST_HANGUP_PAUSE_MS = 1000;
const CHUNK_BYTES = 4096;

/**
 * The master side of a process's terminal. It stays open until {@link Terminal.close}: closing it earlier would hang up on a process that
 * has turned away from its terminal and runs on.
 */
export class Terminal {
  /** Its end is that of the process, {@link Terminal.endOfProcess}. Destroying it stops the reading and nothing else. */
  readonly source: ByteSource;
  readonly sink: ByteSink;
  readonly #master: number;
  readonly #reading = new AbortController();
  readonly #processEnd = new AbortController();
  #stream: ReadStream | undefined;
  #isOpen = true;

  /** It owns the descriptor from now on, also when it fails. */
  constructor(master: number) {
    this.#master = master;
    try {
      // the runtime may have made it one that blocks, and a write would hold up this whole process
      setNonBlocking(master);
      this.#stream = this.#openStream();
    } catch (error) {
      closeFd(master);
      throw error;
    }
    this.source = { [Symbol.asyncIterator]: () => this.#read(), destroy: () => this.#stopReading() };
    let takesInput = true;
    const write = async (bytes: Uint8Array): Promise<void> => {
      for (let rest = bytes; rest.length > 0 && takesInput && this.#isOpen;) {
        const written = this.#writeSome(rest);
        rest = rest.subarray(written);
        // the terminal is full: nobody reads its other side now
        if (written === 0) await sleep(FULL_PAUSE_MS);
      }
    };
    this.sink = { write, close: () => void (takesInput = false) };
  }

  resize(size: { readonly width: number; readonly height: number }): void {
    if (this.#isOpen) resizePty(this.#master, size);
  }

  /** When the other side has nobody now, the output is at its end. */
  endOfProcess(): void {
    this.#processEnd.abort();
  }

  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#stopReading();
    closeFd(this.#master);
  }

  #stopReading(): void {
    this.#reading.abort();
    this.#processEnd.abort();
    this.#stream?.destroy();
  }

  /** A stream closes what it reads from when the other side has nobody, hence a descriptor of its own. */
  #openStream(): ReadStream {
    const descriptor = dup(this.#master);
    try {
      const stream = new ReadStream(descriptor);
      stream.on("error", () => {});
      return stream;
    } catch (error) {
      closeFd(descriptor);
      throw error;
    }
  }

  /** EIO says that no process has the other side open; one that lives may open it again. */
  async *#read(): AsyncGenerator<Uint8Array, void, undefined> {
    while (this.#isOpen && !this.#reading.signal.aborted) {
      try {
        yield* (this.#stream ??= this.#openStream());
      } catch (error) {
        if (systemErrorCode(error) !== "EIO") throw error;
      }
      this.#stream = undefined;
      yield* this.#untilOpenedAgain();
      if (this.#processEnd.signal.aborted) return;
    }
  }

  /** This returns when somebody has the other side open again, or nobody will, and yields what came meanwhile. */
  async *#untilOpenedAgain(): AsyncGenerator<Uint8Array, void, undefined> {
    const { signal } = this.#processEnd;
    for (let pause = FIRST_HANGUP_PAUSE_MS; ; pause = Math.min(pause * 2, LONGEST_HANGUP_PAUSE_MS)) {
      await sleep(pause, undefined, { signal, ref: false }).catch(() => {});
      for (let bytes = this.#readSome(); bytes !== "hung up"; bytes = this.#readSome()) {
        if (bytes.length === 0) return;
        yield bytes;
      }
      if (signal.aborted) return;
    }
  }

  /** Nothing: there is somebody, who is silent. */
  #readSome(): Uint8Array | "hung up" {
    if (!this.#isOpen || this.#reading.signal.aborted) return "hung up";
    const bytes = new Uint8Array(CHUNK_BYTES);
    try {
      return bytes.subarray(0, readSync(this.#master, bytes));
    } catch (error) {
      if (systemErrorCode(error) === "EAGAIN") return bytes.subarray(0, 0);
      if (systemErrorCode(error) === "EIO") return "hung up";
      throw error;
    }
  }

  /** At once, and not by a thread: nothing is under way when the master is closed and its number another file's. */
  #writeSome(bytes: Uint8Array): number {
    try {
      return writeSync(this.#master, bytes);
    } catch (error) {
      if (systemErrorCode(error) === "EAGAIN") return 0;
      throw error;
    }
  }
}

/** This runs a command that sends the terminal it makes to the socket it is given, and returns the terminal. */
export async function receiveTerminal(command: (consoleSocket: string) => Promise<void>): Promise<Terminal> {
  await using resources = new AsyncDisposableStack();
  const directory = mkdtempSync(join(tmpdir(), "berth-console-"));
  resources.defer(() => rmSync(directory, { recursive: true, force: true }));
  const socket = resources.use(listenConsoleSocket(join(directory, "pty.sock")));
  const abort = new AbortController();
  const received = socket.receive({ signal: abort.signal });
  // it may fail before the command does, which has more to say
  received.catch(() => {});
  try {
    await command(socket.path);
  } catch (error) {
    // the runtime sends the terminal before it looks for the program; one that has not come never will
    void received.then(closeFd).catch(() => {});
    throw error;
  }
  // the runtime sends it before it ends: one that has not will never come
  const late = setTimeout(() => abort.abort(deadlineExceeded("the runtime sent no terminal")), RECEIVE_TIMEOUT_MS);
  try {
    return new Terminal(await received);
  } finally {
    clearTimeout(late);
  }
}
