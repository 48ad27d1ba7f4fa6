import { constants, fchownSync, fstatSync, openSync } from "node:fs";
import { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

import type { Logger } from "@berth/core/log";
import type { StreamSource } from "@berth/core/streaming";
import { invalidArgument, messageOf, unimplemented } from "@berth/errors";
import { closeFd, pipe2 } from "@berth/linux/files";
import type { ChildDescriptor, ChildReaper } from "@berth/linux/process";

import { type BinaryLogger, startBinaryLogger } from "./binary-logger.ts";
import { type ByteSink, openFifoSink, openFileSink, pipeSink, shareSink } from "./byte-sink.ts";
import { type ByteCopy, type ByteSource, copyBytes } from "./copy-bytes.ts";
import { parseStdioTarget, type StdioTarget } from "./stdio-uri.ts";
import { StreamInput } from "./stream-input.ts";
import { openStreamSink } from "./stream-sink.ts";
import { receiveTerminal, type Terminal } from "./terminal.ts";

const READER_GRACE_MS = 500;

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
  readonly #waiting: { readonly begin: () => void; readonly cancel: () => void }[] = [];
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

  /** This runs the command that starts the process, with the streams it is to use. */
  async start(command: (stdio: readonly ChildDescriptor[], consoleSocket?: string) => Promise<void>): Promise<void> {
    const stdout = parseStdioTarget(this.#request.stdout);
    try {
      if (stdout.kind === "binary") await this.#startLogger(stdout);
      if (this.#request.terminal) {
        this.#terminal = await receiveTerminal((socket) => command(["null", "null", "null"], socket));
        this.#attach(this.#terminal, stdout);
      } else {
        const [out, err] = this.#outputPipes(stdout, parseStdioTarget(this.#request.stderr));
        await command([this.#inputPipe(), out, err]);
      }
      for (const { begin } of this.#waiting.splice(0)) begin();
    } finally {
      this.#closeInherited();
    }
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

  /** The process has ended: nobody reads its input. */
  stopInput(): void {
    this.closeStdin();
    this.#input?.stop();
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
    for (const { cancel } of this.#waiting.splice(0)) cancel();
    this.stopInput();
    for (const copy of this.#outputs) copy.stop();
    this.#terminal?.close();
    await this.#logger?.close();
    this.#logger = undefined;
  }

  async #startLogger(target: Extract<StdioTarget, { kind: "binary" }>): Promise<void> {
    this.#logger = await startBinaryLogger(target, this.#context);
    this.#inherit(this.#logger.stdout);
    this.#inherit(this.#logger.stderr);
  }

  #attach(terminal: Terminal, stdout: StdioTarget): void {
    const source = this.#openInput();
    if (source) this.#copyInput(source, terminal.sink);
    const sink =
      this.#logger === undefined
        ? (options: { readonly signal: AbortSignal }) => openSink(stdout, this.#context, options)
        : async () => this.#loggerSink();
    this.#copyOutput(terminal.source, sink);
  }

  /** With a terminal there is one stream, which the sink owns; the logger's second one is closed with what is inherited. */
  #loggerSink(): ByteSink {
    // only called where there is one
    const { stdout } = this.#logger as BinaryLogger;
    this.#inherited.delete(stdout);
    return pipeSink(stdout);
  }

  #outputPipes(stdout: StdioTarget, stderr: StdioTarget): readonly [ChildDescriptor, ChildDescriptor] {
    if (this.#logger !== undefined) return [this.#logger.stdout, this.#logger.stderr];
    if (stdout.kind !== "file") return [this.#outputPipe(stdout), this.#outputPipe(stderr)];
    // both go to the file of stdout
    let shared: Promise<readonly [ByteSink, ByteSink]> | undefined;
    const open = () => (shared ??= openFileSink(stdout.path).then(shareSink));
    return [this.#pipeTo(async () => (await open())[0]), this.#pipeTo(async () => (await open())[1])];
  }

  #outputPipe(target: StdioTarget): ChildDescriptor {
    return target.kind === "none" ? "null" : this.#pipeTo((options) => openSink(target, this.#context, options));
  }

  #pipeTo(open: (options: { readonly signal: AbortSignal }) => Promise<ByteSink>): number {
    const [read, write] = pipe2();
    this.#inherit(write);
    this.#copyOutput(new Socket({ fd: read, readable: true, writable: false }), open);
    return write;
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
    if (target.kind === "stream" && streams) return (this.#inputStream = new StreamInput(streams, target.id));
    if (target.kind !== "fifo") throw invalidArgument(`stdin ${this.#request.stdin}: not a FIFO`);
    const reader = openSync(target.path, constants.O_RDONLY | constants.O_NONBLOCK);
    if (!fstatSync(reader).isFIFO()) {
      closeFd(reader);
      throw invalidArgument(`stdin ${target.path}: not a FIFO`);
    }
    // clients may go and others come: the input ends by `closeStdin` alone
    this.#inputKeeper = openSync(target.path, constants.O_WRONLY | constants.O_NONBLOCK);
    const source = new Socket({ fd: reader, readable: true, writable: false });
    source.on("error", () => {});
    return source;
  }

  #copyInput(source: ByteSource, sink: ByteSink): void {
    // a process may close its input at any time: that is no fault
    const onError = (): void => void source.destroy();
    const begin = (): void => {
      this.#input = copyBytes(source, { open: async () => sink, onError });
    };
    const cancel = (): void => {
      source.destroy();
      sink.close();
    };
    this.#waiting.push({ begin, cancel });
  }

  #copyOutput(source: ByteSource, open: (options: { readonly signal: AbortSignal }) => Promise<ByteSink>): void {
    const { log, id } = this.#context;
    const onError = (error: unknown): void =>
      log.warn("copy of process output failed", { id, error: messageOf(error) });
    const begin = (): void => void this.#outputs.push(copyBytes(source, { open, onError }));
    this.#waiting.push({ begin, cancel: () => source.destroy() });
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

async function openSink(
  target: StdioTarget,
  { streams }: StdioContext,
  options: { readonly signal: AbortSignal },
): Promise<ByteSink> {
  if (target.kind === "stream" && streams) return await openStreamSink(streams, target.id, options);
  switch (target.kind) {
    case "fifo":
      return await openFifoSink(target.path, options);
    case "file":
      return await openFileSink(target.path);
    default:
      // a terminal without a taker is read all the same: its process would stop when it is full
      return { write: async () => {}, close: () => {} };
  }
}
