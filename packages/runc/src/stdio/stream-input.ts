import { DataSchema, WindowUpdateSchema } from "@berth/api/containerd/types/transfer/streaming";
import { packMessage, unpackMessage } from "@berth/core/messages";
import type { ClientStream, StreamSource } from "@berth/core/streaming";
import { invalidArgument } from "@berth/errors";

import type { ByteSource } from "./copy-bytes.ts";

/** So much a client may send before it is read. */
const WINDOW_BYTES = 64 * 1024;

/**
 * What the clients of a stream send, in the order in which they come. It ends when one has ended its stream, not when one is lost:
 * it may come again. What has been sent is read at once, since a client may leave right after it.
 *
 * @see containerd core/transfer/streaming/reader.go
 */
export class StreamInput implements ByteSource {
  readonly #streams: StreamSource;
  readonly #id: string;
  readonly #stop = new AbortController();
  #stream: ClientStream | undefined;
  #kept: Uint8Array[] = [];
  #keptBytes = 0;
  /** Handed on, and not taken yet. */
  #inFlightBytes = 0;
  /** So much the client that is there may still send. */
  #window = 0;
  #ended = false;
  #error: unknown;
  #isLast = false;
  #changed = Promise.withResolvers<void>();

  constructor(streams: StreamSource, id: string) {
    this.#streams = streams;
    this.#id = id;
    void this.#readAll();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    for (;;) {
      while (this.#kept.length === 0 && !this.#ended) await this.#changed.promise;
      if (this.#kept.length === 0) break;
      const bytes = Buffer.concat(this.#kept.splice(0));
      this.#keptBytes = 0;
      this.#inFlightBytes = bytes.length;
      yield bytes;
      this.#inFlightBytes = 0;
      this.#allow(bytes.length);
    }
    if (this.#error !== undefined) throw this.#error;
  }

  /** No client is to come after the one that is there. */
  endAfterClient(): void {
    this.#isLast = true;
    if (this.#stream === undefined) this.#stop.abort();
  }

  destroy(): void {
    this.#stop.abort();
    this.#kept = [];
    this.#end();
    this.#stream?.close();
  }

  async #readAll(): Promise<void> {
    const { signal } = this.#stop;
    try {
      do {
        this.#stream = undefined;
        this.#stream = await this.#streams.claim(this.#id, { signal });
        await this.#read(this.#stream);
        this.#stream.close();
      } while (this.#stream.isLost && !this.#isLast && !signal.aborted);
    } catch (error) {
      if (!signal.aborted) this.#error = error;
      this.#stream?.close();
    }
    this.#end();
  }

  async #read(stream: ClientStream): Promise<void> {
    // what an earlier client had sent may not be taken yet
    this.#window = 0;
    this.#allow(WINDOW_BYTES - this.#keptBytes - this.#inFlightBytes);
    for (;;) {
      const next = await stream.receive().catch((error: unknown) => {
        if (stream.isLost) return undefined;
        throw error;
      });
      if (next === undefined) return;
      const { data } = unpackMessage(DataSchema, next);
      if (data.length > this.#window) throw invalidArgument(`stream ${this.#id}: more was sent than was asked for`);
      this.#window -= data.length;
      if (data.length > 0) this.#kept.push(data);
      this.#keptBytes += data.length;
      this.#notify();
    }
  }

  #allow(update: number): void {
    if (update === 0) return;
    this.#window += update;
    // a client that has left needs no word
    void this.#stream?.send(packMessage(WindowUpdateSchema, { update })).catch(() => {});
  }

  #end(): void {
    this.#ended = true;
    this.#notify();
  }

  #notify(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}
