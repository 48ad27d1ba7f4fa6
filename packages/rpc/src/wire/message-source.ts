import type { Readable } from "node:stream";

import { internal } from "@berth/errors";

import { decompress } from "./decompress.ts";
import type { Frame } from "./frame.ts";
import { FrameReader } from "./frame.ts";

/** Unread bytes above which a body is paused, so that HTTP/2's flow control holds its sender back. */
const PAUSE_ABOVE_BYTES = 256 * 1024;

interface Waiter<T> {
  resolve(result: IteratorResult<T> | Promise<IteratorResult<T>>): void;
  reject(error: Error): void;
}

/** How the messages of one body are to be read. */
export interface MessageSourceOptions<T> {
  readonly maxBytes: number;
  /** The compression the sender announced, asked for when a message is marked compressed. */
  encoding(): string | undefined;
  decode(data: Uint8Array): T;
  /** Called once when the reader stops before the body's end. */
  readonly onReturn?: (() => void) | undefined;
}

/** The messages of a gRPC body, as they arrive: at most {@link PAUSE_ABOVE_BYTES} and one message are held unread. */
export class MessageSource<T> implements AsyncIterableIterator<T, undefined> {
  readonly #stream: Readable;
  readonly #options: MessageSourceOptions<T>;
  readonly #reader: FrameReader;
  readonly #waiters: Waiter<T>[] = [];
  #state: "open" | "ended" | "closed" = "open";
  #error: Error | undefined;

  constructor(stream: Readable, options: MessageSourceOptions<T>) {
    this.#stream = stream;
    this.#options = options;
    this.#reader = new FrameReader(options.maxBytes);
    stream.on("data", (chunk: Uint8Array) => this.#onData(chunk));
    stream.on("end", () => this.#onEnd());
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<T, undefined>> {
    if (this.#error !== undefined) return Promise.reject(this.#error);
    if (this.#state === "closed") return Promise.resolve({ done: true, value: undefined });
    return new Promise((resolve, reject) => {
      // A done result carries no value: the cast only joins the two result types.
      this.#waiters.push({ resolve: resolve as Waiter<T>["resolve"], reject });
      this.#deliver();
      if (this.#waiters.length > 0 && this.#state === "open") this.#stream.resume();
    });
  }

  return(): Promise<IteratorResult<T, undefined>> {
    if (this.#state === "open") this.#options.onReturn?.();
    this.#close();
    return Promise.resolve({ done: true, value: undefined });
  }

  /** This ends the source with an error, for those who wait and those who come; the first error stays. */
  fail(error: Error): void {
    if (this.#state === "closed") return;
    this.#error ??= error;
    this.#close();
  }

  #close(): void {
    this.#state = "closed";
    for (const waiter of this.#waiters.splice(0)) {
      if (this.#error === undefined) waiter.resolve({ done: true, value: undefined });
      else waiter.reject(this.#error);
    }
    // The rest of the body is read and dropped: a paused stream would never end.
    this.#stream.resume();
  }

  #onData(chunk: Uint8Array): void {
    if (this.#state === "closed") return;
    this.#reader.push(chunk);
    this.#deliver();
    if (this.#waiters.length === 0 && this.#reader.bufferedBytes > PAUSE_ABOVE_BYTES) this.#stream.pause();
  }

  #onEnd(): void {
    if (this.#state === "closed") return;
    this.#state = "ended";
    this.#deliver();
  }

  #deliver(): void {
    try {
      while (this.#waiters.length > 0) {
        const frame = this.#reader.next();
        if (frame === undefined) break;
        this.#waiters.shift()?.resolve(this.#open(frame));
      }
    } catch (error) {
      // FrameReader throws ConnectError only.
      this.fail(error as Error);
      return;
    }
    if (this.#waiters.length > 0 && this.#state === "ended") this.#finish();
  }

  #finish(): void {
    if (this.#reader.isInsideFrame) this.fail(internal("body ends inside a message"));
    else this.#close();
  }

  #open(frame: Frame): IteratorResult<T> | Promise<IteratorResult<T>> {
    if (frame.compressed) return this.#unpack(frame);
    try {
      return { done: false, value: this.#options.decode(frame.data) };
    } catch (error) {
      return Promise.reject(error);
    }
  }

  async #unpack(frame: Frame): Promise<IteratorResult<T>> {
    const data = await decompress(frame.data, this.#options.encoding(), this.#options.maxBytes);
    return { done: false, value: this.#options.decode(data) };
  }
}
