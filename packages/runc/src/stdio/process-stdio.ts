import { constants, fchownSync, fstatSync, openSync } from "node:fs";
import { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

import type { Logger } from "@berth/core/log";
import type { StreamSource } from "@berth/core/streaming";
import { invalidArgument, isSystemError, messageOf, unimplemented, unknown } from "@berth/errors";
import { closeFd, pipe2 } from "@berth/linux/files";
import type { ChildDescriptor, ChildReaper } from "@berth/linux/process";

import { type BinaryLogger, startBinaryLogger } from "./binary-logger.ts";
import { type ByteSink, openFileSink, type OpenSink, pipeSink, preparePathSink } from "./byte-sink.ts";
import { type ByteCopy, type ByteSource, copyBytes } from "./copy-bytes.ts";
import { parseStdioTarget, type StdioTarget } from "./stdio-uri.ts";
import { StreamInput } from "./stream-input.ts";
import { openStreamSink } from "./stream-sink.ts";
import { receiveTerminal, type Terminal } from "./terminal.ts";

const READER_GRACE_MS = 500;

type OutputName = "stdout" | "stderr";

/** The three streams as a client names them. */
export interface StdioRequest {
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly terminal: boolean;
}

/** What the streams of a process need beside their names. */
export interface StdioContext {
  readonly id: string;
  readonly namespace: string;
  readonly reaper: ChildReaper;
  readonly log: Logger;
  readonly streams?: StreamSource | undefined;
  /** Owner of the pipes, for processes in a user namespace. */
  readonly ioUid?: number | undefined;
  readonly ioGid?: number | undefined;
}

/**
 * The standard streams of one process: pipes or a terminal on its side, and copies between them and what the client named.
 *
 * Disposing closes everything at once; `drain` first, and the last bytes arrive.
 */
export class ProcessStdio implements AsyncDisposable {
  readonly #request: StdioRequest;
  readonly #context: StdioContext;
  readonly #outputs: ByteCopy[] = [];
  /** Ends of pipes that the process is to inherit. */
  readonly #inherited = new Set<number>();
  /** Copies begin when the process is there: what the runtime says when it fails is not the process's output. */
  readonly #waiting: (() => void)[] = [];
  /** What copies read from and write to, whether they have begun or not. */
  #opened = new DisposableStack();
  #input: ByteCopy | undefined;
  #inputKeeper: number | undefined;
  #inputStream: StreamInput | undefined;
  #logger: BinaryLogger | undefined;
  #terminal: Terminal | undefined;

  private constructor(request: StdioRequest, context: StdioContext) {
    this.#request = request;
    this.#context = context;
  }

  /**
   * This checks the names.
   * @throws invalid_argument - a stream leads to something unknown
   * @throws unimplemented - to a stream of a client, which this process has none of
   */
  static create(request: StdioRequest, context: StdioContext): ProcessStdio {
    for (const name of ["stdin", "stdout", "stderr"] as const) {
      const { kind } = parseStdioTarget(request[name]);
      if (kind === "stream" && context.streams === undefined)
        throw unimplemented(`${name} ${request[name]}: this shim has no Streaming service`);
    }
    return new ProcessStdio(request, context);
  }

  /**
   * This opens the streams, as far as that can be done without those who take them, and runs the command that starts the process.
   * When it fails nothing stays open.
   * @throws unknown - a stream cannot be opened: no process is started then @throws invalid_argument - it leads to the wrong thing
   */
  async start(command: (stdio: readonly ChildDescriptor[], consoleSocket?: string) => Promise<void>): Promise<void> {
    await using undo = new AsyncDisposableStack();
    undo.use(this);
    const stdout = parseStdioTarget(this.#request.stdout);
    if (stdout.kind === "binary") await this.#startLogger(stdout);
    if (this.#request.terminal) {
      const input = this.#openInput();
      const output = await this.#prepareTerminalOutput(stdout);
      this.#terminal = await receiveTerminal((socket) => command(["null", "null", "null"], socket));
      if (input) this.#copyInput(input, this.#terminal.sink);
      this.#copyOutput(this.#terminal.source, output);
    } else {
      const [out, err] = await this.#outputPipes(stdout, parseStdioTarget(this.#request.stderr));
      await command([this.#inputPipe(), out, err]);
    }
    for (const begin of this.#waiting.splice(0)) begin();
    this.#closeInherited();
    undo.move();
  }

  resize(size: { readonly width: number; readonly height: number }): void {
    this.#terminal?.resize(size);
  }

  /** This lets the input end as soon as no client holds it open. */
  closeStdin(): void {
    if (this.#inputKeeper !== undefined) closeFd(this.#inputKeeper);
    this.#inputKeeper = undefined;
    this.#inputStream?.endAfterClient();
  }

  /** The process has ended: nobody reads its input, and its terminal is closed when its output has been handed on. */
  endOfProcess(): void {
    this.closeStdin();
    this.#input?.stop();
    const terminal = this.#terminal;
    terminal?.endOfProcess();
    if (terminal) void Promise.all(this.#outputs.map((copy) => copy.done)).then(() => terminal.close());
  }

  /** This waits until all output has been handed on, `timeoutMs` at most; a client that never came is not waited for. */
  async drain(timeoutMs: number): Promise<void> {
    // as it is when a process is deleted, mostly: then without timers
    if (this.#outputs.every((copy) => copy.ended)) return;
    const stop = new AbortController();
    const late = (ms: number) => sleep(ms, undefined, { signal: stop.signal }).catch(() => {});
    const readerGrace = late(READER_GRACE_MS);
    const ends = this.#outputs.map(async (copy) => {
      await Promise.race([copy.done, readerGrace]);
      if (copy.connected) await copy.done;
    });
    await Promise.race([Promise.all(ends), late(timeoutMs)]);
    stop.abort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closeInherited();
    this.#waiting.length = 0;
    this.endOfProcess();
    for (const copy of this.#outputs) copy.stop();
    this.#opened.dispose();
    this.#opened = new DisposableStack();
    this.#terminal?.close();
    await this.#logger?.close();
    this.#logger = undefined;
  }

  async #startLogger(target: Extract<StdioTarget, { kind: "binary" }>): Promise<void> {
    this.#logger = await startBinaryLogger(target, this.#context);
    this.#inherit(this.#logger.stdout);
    this.#inherit(this.#logger.stderr);
  }

  async #prepareTerminalOutput(stdout: StdioTarget): Promise<OpenSink> {
    if (this.#logger !== undefined) return async () => this.#loggerSink();
    // one without a taker is read all the same: its process would stop when it is full
    if (stdout.kind === "none") return async () => ({ write: async () => {}, close: () => {} });
    return await this.#prepareOutput(stdout, "stdout");
  }

  /** With a terminal there is one stream, which the sink owns; the logger's second one is closed with what is inherited. */
  #loggerSink(): ByteSink {
    // only called where there is one
    const { stdout } = this.#logger as BinaryLogger;
    this.#inherited.delete(stdout);
    return pipeSink(stdout);
  }

  async #outputPipes(
    stdout: StdioTarget,
    stderr: StdioTarget,
  ): Promise<readonly [out: ChildDescriptor, err: ChildDescriptor]> {
    if (this.#logger !== undefined) return [this.#logger.stdout, this.#logger.stderr];
    const out = await this.#outputPipe(stdout, "stdout");
    // both go to the file of stdout
    return [out, await this.#outputPipe(stdout.kind === "file" ? stdout : stderr, "stderr")];
  }

  async #outputPipe(target: StdioTarget, name: OutputName): Promise<ChildDescriptor> {
    if (target.kind === "none") return "null";
    const open = await this.#prepareOutput(target, name);
    const [read, write] = pipe2();
    this.#inherit(write);
    this.#copyOutput(new Socket({ fd: read, readable: true, writable: false }), open);
    return write;
  }

  /** This opens what needs no reader: what cannot be written to is to fail the start, not to end the process. */
  async #prepareOutput(target: StdioTarget, name: OutputName): Promise<OpenSink> {
    const sink = await this.#openOutput(target, name);
    if (typeof sink === "function") return sink;
    this.#opened.defer(() => sink.close());
    return async () => sink;
  }

  async #openOutput(target: StdioTarget, name: OutputName): Promise<ByteSink | OpenSink> {
    const { streams } = this.#context;
    if (target.kind === "stream" && streams) return (options) => openStreamSink(streams, target.id, options);
    try {
      if (target.kind === "fifo") return await preparePathSink(target.path);
      if (target.kind === "file") return await openFileSink(target.path);
    } catch (error) {
      throw cannotOpen(name, this.#request[name], error);
    }
    throw invalidArgument(`${name} ${this.#request[name]}: neither FIFO nor file`);
  }

  #inputPipe(): ChildDescriptor {
    const source = this.#openInput();
    if (!source) return "null";
    const [read, write] = pipe2();
    this.#inherit(read);
    this.#copyInput(source, pipeSink(write));
    return read;
  }

  #openInput(): ByteSource | undefined {
    const target = parseStdioTarget(this.#request.stdin);
    const { streams } = this.#context;
    if (target.kind === "none") return undefined;
    if (target.kind === "stream" && streams) {
      const stream = new StreamInput(streams, target.id);
      this.#opened.defer(() => stream.destroy());
      return (this.#inputStream = stream);
    }
    if (target.kind !== "fifo") throw invalidArgument(`stdin ${this.#request.stdin}: not a FIFO`);
    try {
      return this.#openInputFifo(target.path);
    } catch (error) {
      throw cannotOpen("stdin", target.path, error);
    }
  }

  #openInputFifo(path: string): ByteSource {
    const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    if (!fstatSync(reader).isFIFO()) {
      closeFd(reader);
      throw invalidArgument(`stdin ${path}: not a FIFO`);
    }
    const source = new Socket({ fd: reader, readable: true, writable: false });
    this.#opened.defer(() => void source.destroy());
    source.on("error", () => {});
    // clients may go and others come: the input ends by `closeStdin` alone
    this.#inputKeeper = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
    return source;
  }

  #copyInput(source: ByteSource, sink: ByteSink): void {
    // a process may close its input at any time: that is no fault
    const onError = (): void => void source.destroy();
    this.#opened.defer(() => sink.close());
    this.#waiting.push(() => {
      this.#input = copyBytes(source, { open: async () => sink, onError });
    });
  }

  #copyOutput(source: ByteSource, open: OpenSink): void {
    const { log, id } = this.#context;
    const onError = (error: unknown): void =>
      log.warn("copy of process output failed", { id, error: messageOf(error) });
    this.#opened.defer(() => void source.destroy());
    this.#waiting.push(() => void this.#outputs.push(copyBytes(source, { open, onError })));
  }

  #inherit(descriptor: number): void {
    this.#inherited.add(descriptor);
    const { ioUid, ioGid } = this.#context;
    if (ioUid || ioGid) fchownSync(descriptor, ioUid ?? 0, ioGid ?? 0);
  }

  #closeInherited(): void {
    for (const descriptor of this.#inherited) closeFd(descriptor);
    this.#inherited.clear();
  }
}

/** A class of its own would be taken for one of the shim. */
function cannotOpen(name: string, target: string, error: unknown): unknown {
  return isSystemError(error) ? unknown(`open ${name} ${target}: ${messageOf(error)}`, { cause: error }) : error;
}
