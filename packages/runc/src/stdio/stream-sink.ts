import { DataSchema, WindowUpdateSchema } from "@berth/api/containerd/types/transfer/streaming";
import { packMessage, unpackMessage } from "@berth/core/messages";
import type { ClientStream, StreamSource } from "@berth/core/streaming";
import { invalidArgument, unavailable } from "@berth/errors";

import type { ByteSink } from "./byte-sink.ts";

/** The most bytes of one message, as containerd sends. */
const CHUNK_BYTES = 32 * 1024;
/** A window that would grow beyond this is a mistake of the client. */
const MAX_WINDOW_BYTES = 2 ** 31 - 1;

/**
 * This waits for the client that opens a stream, and gives it bytes as fast as it asks for them.
 *
 * A client that is lost may come again under the same name; one that has ended its stream wants nothing more.
 * @throws already_exists - another process's output has this name
 * @see containerd core/transfer/streaming/writer.go
 */
export async function openStreamSink(
  streams: StreamSource,
  id: string,
  options: { readonly signal: AbortSignal },
): Promise<ByteSink> {
  return new StreamSink(streams, id, await streams.claim(id, options));
}

class StreamSink implements ByteSink {
  readonly #streams: StreamSource;
  readonly #id: string;
  readonly #closing = new AbortController();
  #stream: ClientStream | undefined;
  #window = 0;
  #failure: unknown;
  #changed = Promise.withResolvers<void>();

  constructor(streams: StreamSource, id: string, first: ClientStream) {
    this.#streams = streams;
    this.#id = id;
    this.#stream = first;
    void this.#followAll(first);
  }

  async write(bytes: Uint8Array): Promise<void> {
    const { signal } = this.#closing;
    for (let rest = bytes; rest.length > 0;) {
      while (this.#window <= 0 && this.#failure === undefined && !signal.aborted) await this.#changed.promise;
      if (signal.aborted) return;
      if (this.#failure !== undefined) throw this.#failure;
      const data = rest.subarray(0, Math.min(CHUNK_BYTES, this.#window));
      if (await this.#send(data)) rest = rest.subarray(data.length);
    }
  }

  close(): void {
    this.#closing.abort();
    this.#stream?.close();
    this.#notify();
  }

  async #send(data: Uint8Array): Promise<boolean> {
    const stream = this.#stream;
    try {
      // a window means that there is a stream
      await stream?.send(packMessage(DataSchema, { data }), { signal: this.#closing.signal });
    } catch {
      // its client has left: what it is said of that comes by its other direction
      if (this.#stream === stream) this.#window = 0;
      return false;
    }
    if (this.#stream === stream) this.#window -= data.length;
    return true;
  }

  async #followAll(first: ClientStream): Promise<void> {
    try {
      for (let stream = first; ; stream = await this.#next()) {
        await this.#follow(stream);
        if (!stream.isLost) throw unavailable(`the client of stream ${this.#id} takes nothing more`);
      }
    } catch (error) {
      this.#failure = error;
      this.#stream?.close();
      this.#notify();
    }
  }

  async #next(): Promise<ClientStream> {
    const { signal } = this.#closing;
    this.#stream = undefined;
    this.#window = 0;
    const stream = await this.#streams.claim(this.#id, { signal });
    if (signal.aborted) stream.close();
    this.#stream = stream;
    return stream;
  }

  /** This takes what the client says of its window until it says no more. */
  async #follow(stream: ClientStream): Promise<void> {
    for (;;) {
      const message = await stream.receive().catch((error: unknown) => {
        if (stream.isLost) return undefined;
        throw error;
      });
      if (message === undefined) return;
      const { update } = unpackMessage(WindowUpdateSchema, message);
      if (update < 0 || this.#window + update > MAX_WINDOW_BYTES)
        throw invalidArgument(`window update of ${update} bytes`);
      this.#window += update;
      this.#notify();
    }
  }

  #notify(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}
