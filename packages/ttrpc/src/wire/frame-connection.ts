import type { Duplex } from "node:stream";

import type { Frame } from "./frame.ts";
import { encodeFrame, FrameParser } from "./frame.ts";

/** Unsent bytes above which nothing more is read: a peer that does not take its answers gets no more of them. */
const PAUSE_READING_ABOVE_BYTES = 8 * 1024 * 1024;

/** What a connection tells its owner. */
export interface FrameListener {
  onFrame(frame: Frame): void;
  /** Called once, with the socket's error if there was one. */
  onClose(error: Error | undefined): void;
}

/** A stream of bytes as a stream of frames. It owns the socket: closing one closes the other. */
export class FrameConnection {
  readonly #socket: Duplex;
  readonly #listener: FrameListener;
  /** Why nothing is read right now; reading goes on when the last reason is gone. */
  readonly #pauses = new Set<unknown>();
  #closed = false;
  #error: Error | undefined;

  constructor(socket: Duplex, listener: FrameListener) {
    this.#socket = socket;
    this.#listener = listener;
    const parser = new FrameParser((frame) => listener.onFrame(frame));
    socket.on("data", (chunk: Uint8Array) => {
      if (!this.#closed) parser.push(chunk);
    });
    // A peer that closes its side will send nothing more that could be answered.
    socket.on("end", () => this.close());
    socket.on("error", (error) => {
      this.#error = error;
      this.close();
    });
    socket.on("close", () => this.close());
    if (socket.destroyed) queueMicrotask(() => this.close());
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  /**
   * This sends one frame and returns whether the socket takes more at once; if not, `drained` says when. On a closed
   * connection it does nothing.
   * @throws resource_exhausted - the payload is larger than 4 MiB
   */
  send(streamId: number, type: number, flags: number, payload: Uint8Array): boolean {
    const frame = encodeFrame(streamId, type, flags, payload);
    if (this.#closed) return true;
    const free = this.#socket.write(frame);
    if (this.#socket.writableLength > PAUSE_READING_ABOVE_BYTES && !this.#pauses.has(this)) {
      this.pauseReading(this);
      this.#socket.once("drain", () => this.resumeReading(this));
    }
    return free;
  }

  /** This resolves when the socket has sent what it holds, or is gone. */
  drained(): Promise<void> {
    if (this.#closed || !this.#socket.writableNeedDrain) return Promise.resolve();
    return new Promise((resolve) => {
      const done = (): void => {
        this.#socket.off("drain", done);
        this.#socket.off("close", done);
        resolve();
      };
      this.#socket.on("drain", done);
      this.#socket.on("close", done);
    });
  }

  /** This stops reading until the same reason is taken back. */
  pauseReading(reason: unknown): void {
    this.#pauses.add(reason);
    this.#socket.pause();
  }

  resumeReading(reason: unknown): void {
    if (this.#pauses.delete(reason) && this.#pauses.size === 0) this.#socket.resume();
  }

  /** This sends what is queued and closes the connection; safe to call twice. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    // With `end` alone, a peer that never closes its side would keep the socket for ever.
    this.#socket.end(() => this.#socket.destroy());
    if (this.#socket.writableLength === 0 || this.#error !== undefined) this.#socket.destroy();
    this.#listener.onClose(this.#error);
  }
}
