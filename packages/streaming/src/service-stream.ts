import type { AnyValue, CallOptions } from "@berth/core/any";
import { raceSignal } from "@berth/core/race-signal";
import type { ClientStream } from "@berth/core/streaming";
import { unavailable } from "@berth/errors";

/** Messages that may wait for a client that does not read; further senders wait. */
const MAX_WAITING = 32;

/** What a {@link ServiceStream} belongs to. */
export interface ServiceStreamOptions {
  /** Not aborted yet; aborted when the client has left: the stream is closed then, and what was not read yet is dropped. */
  readonly signal: AbortSignal;
  /** Called once, when the stream is closed by either side. */
  readonly onClose: (stream: ServiceStream) => void;
}

/**
 * The daemon's side of a client's stream: what the client sends is read with `receive`, when somebody wants it; what is sent
 * to the client is yielded by {@link ServiceStream.outgoing}. One reader and one writer at a time.
 */
export class ServiceStream implements ClientStream {
  readonly #incoming: AsyncIterator<AnyValue>;
  readonly #waiting: AnyValue[] = [];
  /** A read that nobody waits for any more; the next `receive` gets what it brings. */
  #reading: Promise<AnyValue | undefined> | undefined;
  #changed = Promise.withResolvers<void>();
  #isClosed = false;

  #hasLeft = false;
  #hasEnded = false;

  readonly #signal: AbortSignal;
  readonly #onClose: (stream: ServiceStream) => void;

  constructor(incoming: AsyncIterator<AnyValue>, { signal, onClose }: ServiceStreamOptions) {
    this.#incoming = incoming;
    this.#signal = signal;
    this.#onClose = onClose;
    // Also while the client reads nothing, and nobody asks for what goes out.
    signal.addEventListener("abort", this.#leave, { once: true });
  }

  get isLost(): boolean {
    return this.#hasLeft && !this.#hasEnded;
  }

  async send(message: AnyValue, { signal }: CallOptions = {}): Promise<void> {
    while (!this.#isClosed && this.#waiting.length >= MAX_WAITING) await raceSignal(this.#changed.promise, signal);
    signal?.throwIfAborted();
    if (this.#isClosed) throw unavailable("stream is closed");
    this.#waiting.push(message);
    this.#notify();
  }

  async receive({ signal }: CallOptions = {}): Promise<AnyValue | undefined> {
    const message = await raceSignal((this.#reading ??= this.#read()), signal);
    this.#reading = undefined;
    return message;
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#signal.removeEventListener("abort", this.#leave);
    this.#notify();
    this.#onClose(this);
  }

  /** This yields what was sent, until the stream is closed and everything is out. The end of it closes the stream. */
  async *outgoing(): AsyncGenerator<AnyValue> {
    try {
      for (;;) {
        const message = this.#signal.aborted ? undefined : this.#waiting.shift();
        if (message !== undefined) {
          this.#notify();
          yield message;
        } else if (this.#isClosed) {
          return;
        } else {
          await this.#changed.promise;
        }
      }
    } finally {
      this.close();
    }
  }

  readonly #leave = (): void => {
    this.#hasLeft = !this.#isClosed;
    this.close();
  };

  async #read(): Promise<AnyValue | undefined> {
    if (this.#isClosed) return undefined;
    const closed = this.#untilClosed();
    const next = await Promise.race([this.#incoming.next(), closed]);
    if (next?.done === true) this.#hasEnded = true;
    return next === undefined || next.done === true ? undefined : next.value;
  }

  async #untilClosed(): Promise<undefined> {
    while (!this.#isClosed) await this.#changed.promise;
    return undefined;
  }

  #notify(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}
