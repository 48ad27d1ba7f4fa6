import { resourceExhausted } from "@berth/errors";

const HEADER_BYTES = 8;
/** A ttrpc message with its header: nobody who speaks ttrpc makes longer frames. */
const MAX_FRAME_BYTES = 10 + 4 * 1024 * 1024;

/**
 * The most of a message that goes into its first frame. A reader in Go takes a frame in one read: what begins a message has to fit into
 * the buffer that it reads headers with, the rest goes straight to where the message is put together.
 *
 * @see containerd nri pkg/net/multiplex/mux.go, conn.Read
 */
const FIRST_FRAME_BYTES = 4096;

/** This wraps one whole message for the connection with that id: a list of buffers, to be written in this order. */
export function encodeMuxFrames(id: number, message: Uint8Array): readonly Uint8Array[] {
  const parts = [message.subarray(0, FIRST_FRAME_BYTES)];
  for (let offset = FIRST_FRAME_BYTES; offset < message.length; offset += MAX_FRAME_BYTES) {
    parts.push(message.subarray(offset, offset + MAX_FRAME_BYTES));
  }
  return parts.flatMap((part) => [encodeHeader(id, part.length), part]);
}

function encodeHeader(id: number, size: number): Uint8Array {
  const header = Buffer.allocUnsafe(HEADER_BYTES);
  header.writeUInt32BE(id, 0);
  header.writeUInt32BE(size, 4);
  return header;
}

/**
 * This takes the frames of a connection apart, given in pieces of any size, and passes on what they carry, piece by piece, as it comes:
 * nothing is held but a header that is not complete.
 */
export class MuxFrameParser {
  readonly #onData: (id: number, bytes: Uint8Array) => void;
  readonly #header = Buffer.alloc(HEADER_BYTES);
  #headerFilled = 0;
  #left = 0;

  constructor(onData: (id: number, bytes: Uint8Array) => void) {
    this.#onData = onData;
  }

  /** @throws resource_exhausted - a frame is longer than any ttrpc message; there is no going on after it */
  push(chunk: Uint8Array): void {
    let offset = 0;
    while (offset < chunk.length) {
      if (this.#left === 0) {
        offset += this.#fillHeader(chunk, offset);
        continue;
      }
      const part = chunk.subarray(offset, offset + this.#left);
      this.#left -= part.length;
      offset += part.length;
      this.#onData(this.#header.readUInt32BE(0), part);
    }
  }

  #fillHeader(chunk: Uint8Array, offset: number): number {
    const part = chunk.subarray(offset, offset + HEADER_BYTES - this.#headerFilled);
    this.#header.set(part, this.#headerFilled);
    this.#headerFilled += part.length;
    if (this.#headerFilled < HEADER_BYTES) return part.length;
    this.#headerFilled = 0;
    this.#left = this.#header.readUInt32BE(4);
    if (this.#left > MAX_FRAME_BYTES) {
      throw resourceExhausted(`frame of ${this.#left} bytes is longer than the limit of ${MAX_FRAME_BYTES}`);
    }
    return part.length;
  }
}
