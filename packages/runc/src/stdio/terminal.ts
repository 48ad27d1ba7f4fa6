import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ReadStream } from "node:tty";

import { deadlineExceeded } from "@berth/errors";
import { listenConsoleSocket } from "@berth/linux/sockets";
import { resizePty } from "@berth/linux/terminal";

import { type ByteSink, terminalSink } from "./byte-sink.ts";
import type { ByteSource } from "./copy-bytes.ts";

const RECEIVE_TIMEOUT_MS = 10_000;

/** The master side of a container's terminal. */
export class Terminal {
  readonly source: ByteSource;
  readonly sink: ByteSink;
  readonly #stream: ReadStream;
  readonly #master: number;

  constructor(master: number) {
    this.#master = master;
    this.#stream = new ReadStream(master);
    this.#stream.on("error", () => {});
    this.source = this.#stream;
    this.sink = terminalSink(master);
  }

  resize(size: { readonly width: number; readonly height: number }): void {
    if (!this.#stream.destroyed) resizePty(this.#master, size);
  }

  close(): void {
    this.sink.close();
    this.#stream.destroy();
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
  // when the command fails, nobody waits for it
  received.catch(() => {});
  await command(socket.path);
  // the runtime sends it before it ends: one that has not will never come
  const late = setTimeout(() => abort.abort(deadlineExceeded("the runtime sent no terminal")), RECEIVE_TIMEOUT_MS);
  try {
    return new Terminal(await received);
  } finally {
    clearTimeout(late);
  }
}
