import { constants } from "node:fs";
import { Socket } from "node:net";

import { toBinary } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import { create } from "@bufbuild/protobuf";
import { takesMore } from "@berth/archive";
import type { AnyValue } from "@berth/core/any";
import { childEnvironment } from "@berth/core/child-environment";
import { systemErrorCode, unknown, wrapError } from "@berth/errors";
import { AT_FDCWD, closeFd, openat2, pipe2 } from "@berth/linux/files";
import type { Child, ChildReaper, ExitStatus } from "@berth/linux/process";

import type { ProcessorStep } from "./processor-chain.ts";

/** Where the bytes of the layer come from: a file, a descriptor that is given away, or chunks. */
export type ProcessorInput =
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "pipe"; readonly fd: number }
  | { readonly kind: "chunks"; readonly chunks: AsyncIterable<Uint8Array> };

const MEDIA_TYPE_VARIABLE = "STREAM_PROCESSOR_MEDIATYPE";
const PAYLOAD_FD = 3;
const MAX_MESSAGE_BYTES = 16_384;
/** So long a program that has closed its output may take to end. */
const ENDING_MS = 5000;
/** So long one may take whose output was not what it should have been, before that is not its fault any more. */
const BLAME_MS = 200;

/**
 * Programs that run one behind the other, the output of each being the input of the next. Disposing kills those that still run,
 * with all that they have started, and waits for them.
 *
 * @see containerd core/diff/stream_unix.go, NewBinaryProcessor
 */
export class RunningProcessors implements AsyncDisposable {
  /** A pipe with the output of the last one; belongs to this. */
  readonly output: number;
  readonly #programs: readonly RunningProgram[];
  readonly #feeding: Promise<void>;
  #closed = false;

  private constructor(output: number, programs: readonly RunningProgram[], feeding: Promise<void>) {
    this.output = output;
    this.#programs = programs;
    this.#feeding = feeding;
  }

  /** @throws what starting a program may throw; none is left running then */
  static start(steps: readonly ProcessorStep[], input: ProcessorInput, reaper: ChildReaper): RunningProcessors {
    using undo = new DisposableStack();
    const programs: RunningProgram[] = [];
    undo.defer(() => programs.forEach((program) => program.kill()));
    const { fd, feeding } = openInput(input);
    let read = fd;
    undo.defer(() => closeFd(read));
    for (const step of steps) {
      const program = RunningProgram.start(step, read, reaper);
      programs.push(program);
      closeFd(read);
      read = program.output;
    }
    const running = new RunningProcessors(read, programs, feeding);
    undo.move();
    return running;
  }

  /**
   * Waits for the end of all, after everything was read.
   *
   * @throws unknown - one ended with another status than 0; the message is what it wrote to its standard error
   */
  async finish(limitMs: number = ENDING_MS): Promise<void> {
    const ended = Promise.all(this.#programs.map(({ exited }) => exited));
    using timer = new Deadline(limitMs);
    await Promise.race([ended, timer.passed]);
    await this.#blame();
  }

  /** Tells whether it was a program's failure that made reading its output fail. @throws unknown - it was */
  async explain(): Promise<void> {
    const ended = Promise.race(this.#programs.map(({ exited }) => exited));
    using timer = new Deadline(BLAME_MS);
    await Promise.race([ended, timer.passed]);
    await this.#blame();
  }

  async #blame(): Promise<void> {
    for (const program of this.#programs) await program.check();
  }

  /** Ends all that still run, and so their output. */
  kill(): void {
    for (const program of this.#programs) program.kill();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.kill();
    closeFd(this.output);
    await Promise.allSettled(this.#programs.map(({ exited }) => exited));
    await this.#feeding;
  }
}

/** A time that does not keep the process alive, nor anything when it is disposed. */
class Deadline implements Disposable {
  readonly passed: Promise<void>;
  readonly #timer: NodeJS.Timeout;

  constructor(limitMs: number) {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.passed = promise;
    this.#timer = setTimeout(resolve, limitMs).unref();
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }
}

class RunningProgram {
  readonly output: number;
  readonly exited: Promise<ExitStatus>;
  readonly #step: ProcessorStep;
  readonly #child: Child;
  readonly #message: Message;
  #status: ExitStatus | undefined;

  private constructor(step: ProcessorStep, child: Child, output: number, message: Message) {
    this.#step = step;
    this.#child = child;
    this.output = output;
    this.#message = message;
    this.exited = child.exited.then((status) => (this.#status = status));
  }

  static start(step: ProcessorStep, input: number, reaper: ChildReaper): RunningProgram {
    const { processor, mediaType, payload } = step;
    using ours = new DisposableStack();
    using theirs = new DisposableStack();
    const [read, output] = pipe(ours, theirs);
    const [readErrors, errors] = pipe(ours, theirs);
    const sent = payload === undefined ? undefined : pipe(theirs, ours);
    const extraFds = new Map(sent === undefined ? [] : [[PAYLOAD_FD, sent[0]]]);
    let child: Child;
    try {
      child = reaper.spawn({
        path: processor.path,
        args: processor.args,
        env: [...inherited(), ...processor.env, `${MEDIA_TYPE_VARIABLE}=${mediaType}`],
        stdio: [input, output, errors],
        extraFds,
        newProcessGroup: true,
      });
    } catch (error) {
      throw unknown(`start stream processor ${processor.id}: ${wrapError(error, processor.path).rawMessage}`);
    }
    ours.move();
    const message = new Message(readErrors);
    if (sent !== undefined && payload !== undefined) void writeAll(sent[1], [encodeAny(payload)]);
    return new RunningProgram(step, child, read, message);
  }

  /** @throws unknown - it has ended, and not well */
  async check(): Promise<void> {
    const { processor } = this.#step;
    const status = this.#status;
    if (status === undefined || status.status === 0) return;
    const message = await this.#message.text();
    throw unknown(
      `stream processor ${processor.id}: ${message === "" ? `ended with status ${status.status}` : message}`,
    );
  }

  kill(): void {
    if (this.#status !== undefined) return;
    try {
      process.kill(-this.#child.pid, "SIGKILL");
    } catch (error) {
      if (systemErrorCode(error) !== "ESRCH") throw error;
    }
  }
}

/** Makes a pipe whose read end goes with one stack, its write end with another. */
function pipe(reading: DisposableStack, writing: DisposableStack): readonly [read: number, write: number] {
  const [read, write] = pipe2();
  reading.defer(() => closeFd(read));
  writing.defer(() => closeFd(write));
  return [read, write];
}

function inherited(): string[] {
  return Object.entries(childEnvironment()).map(([name, value]) => `${name}=${value}`);
}

function openInput(input: ProcessorInput): { readonly fd: number; readonly feeding: Promise<void> } {
  if (input.kind === "file")
    return { fd: openat2(AT_FDCWD, input.path, { flags: constants.O_RDONLY }), feeding: Promise.resolve() };
  if (input.kind === "pipe") return { fd: input.fd, feeding: Promise.resolve() };
  const [fd, write] = pipe2();
  return { fd, feeding: writeAll(write, input.chunks) };
}

/** Never rejects: a reader that is gone has told why, and a source that fails ends the input too soon. */
async function writeAll(fd: number, chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<void> {
  const socket = new Socket({ fd, readable: false, writable: true });
  const { promise: closed, resolve } = Promise.withResolvers<void>();
  socket.on("error", () => {});
  socket.once("close", () => resolve());
  try {
    for await (const chunk of chunks) {
      if (socket.destroyed) break;
      if (!socket.write(chunk)) await takesMore(socket);
    }
    socket.end();
  } catch {
    socket.destroy();
  }
  await closed;
}

/** Keeps the start of what comes out of a pipe, and drops the rest. */
class Message {
  readonly #parts: Buffer[] = [];
  readonly #ended: Promise<unknown>;
  #length = 0;

  constructor(fd: number) {
    const socket = new Socket({ fd, readable: true, writable: false });
    socket.on("data", (chunk: Buffer) => {
      if (this.#length < MAX_MESSAGE_BYTES) this.#parts.push(chunk.subarray(0, MAX_MESSAGE_BYTES - this.#length));
      this.#length += chunk.length;
    });
    socket.on("error", () => {});
    this.#ended = new Promise((resolve) => socket.once("close", resolve));
    // What the program has started may hold the pipe for ever; it does not hold this process.
    socket.unref();
  }

  async text(): Promise<string> {
    using timer = new Deadline(BLAME_MS);
    await Promise.race([this.#ended, timer.passed]);
    return Buffer.concat(this.#parts).toString().trim();
  }
}

function encodeAny({ typeUrl, value }: AnyValue): Uint8Array {
  return toBinary(AnySchema, create(AnySchema, { typeUrl, value }));
}
