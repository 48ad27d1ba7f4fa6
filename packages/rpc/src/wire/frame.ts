import { internal, resourceExhausted } from "@berth/errors";

/** One length-prefixed message of a gRPC body. */
export interface Frame {
  readonly compressed: boolean;
  readonly data: Uint8Array;
}

const PREFIX_BYTES = 5;

/** Smaller messages are left to the collector. */
const LARGE_BYTES = 64 * 1024;

/** Memory of single messages, each with room for its prefix before it. */
const roomy = new WeakSet<ArrayBufferLike>();
/** Memory of single large messages that were received. */
const received = new WeakSet<ArrayBufferLike>();

/** This returns memory for a large message: its frame is made without a copy, and {@link releaseFrame} frees it. */
export function allocateMessage(size: number): Uint8Array {
  const { buffer } = Buffer.allocUnsafeSlow(PREFIX_BYTES + size);
  roomy.add(buffer);
  return new Uint8Array(buffer, PREFIX_BYTES, size);
}

/** This returns a message with its gRPC length prefix, ready to be written. */
export function encodeFrame(data: Uint8Array): Uint8Array {
  const isRoomy = roomy.has(data.buffer);
  const length = PREFIX_BYTES + data.length;
  const frame = isRoomy ? Buffer.from(data.buffer, 0, length) : Buffer.allocUnsafe(length);
  frame[0] = 0;
  frame.writeUInt32BE(data.length, 1);
  if (!isRoomy) frame.set(data, PREFIX_BYTES);
  return frame;
}

/**
 * This frees the memory of a frame that has been sent, where it is the frame's own. The collector sees a large message as a small object
 * and is late, and where it counts what hangs on it, it goes through the whole heap for every few dozen of them.
 */
export function releaseFrame({ buffer }: Uint8Array): void {
  if (roomy.has(buffer) && buffer instanceof ArrayBuffer) buffer.transfer(0);
}

/**
 * This frees the memory of a large message that was received, which `bytes` are a field of; no other part of it may be in use. What lies
 * elsewhere stays. The reason is that of {@link releaseFrame}.
 */
export function releaseMessage({ buffer }: Uint8Array): void {
  if (received.delete(buffer) && buffer instanceof ArrayBuffer) buffer.transfer(0);
}

/**
 * This cuts a gRPC body, given in pieces of any size, into its messages.
 *
 * A length above the limit is refused when its prefix is seen, before a byte of the message is kept. After an error the
 * reader is of no further use.
 */
export class FrameReader {
  readonly #maxBytes: number;
  #chunks: Uint8Array[] = [];
  /** Bytes of the first chunk that are used up: cutting it would make an object for each message. */
  #start = 0;
  #buffered = 0;
  #compressed = false;
  #length = -1;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Bytes taken in and not yet given out. */
  get bufferedBytes(): number {
    return this.#buffered;
  }

  /** Whether a message has begun and is not complete. */
  get isInsideFrame(): boolean {
    return this.#buffered > 0 || this.#length >= 0;
  }

  push(chunk: Uint8Array): void {
    if (chunk.length === 0) return;
    this.#chunks.push(chunk);
    this.#buffered += chunk.length;
  }

  /**
   * This returns the next complete message, `undefined` when more bytes are needed.
   * @throws resource_exhausted - the message is longer than the limit
   * @throws internal - the prefix is not one of gRPC
   */
  next(): Frame | undefined {
    if (this.#length < 0) {
      if (this.#buffered < PREFIX_BYTES) return undefined;
      this.#readPrefix();
    }
    if (this.#buffered < this.#length) return undefined;
    const data = this.#take(this.#length);
    this.#length = -1;
    return { compressed: this.#compressed, data };
  }

  #readPrefix(): void {
    const first = this.#chunks[0];
    const isWhole = first !== undefined && first.length - this.#start >= PREFIX_BYTES;
    const prefix = isWhole ? first : this.#take(PREFIX_BYTES);
    const at = isWhole ? this.#start : 0;
    const flag = prefix[at] ?? 0;
    if (flag > 1) throw internal(`message prefix has flags ${flag}, expected 0 or 1`);
    // The prefix is exactly five bytes: the indices are there.
    const low = ((prefix[at + 2] ?? 0) << 16) | ((prefix[at + 3] ?? 0) << 8) | (prefix[at + 4] ?? 0);
    const length = (prefix[at + 1] ?? 0) * 0x1000000 + low;
    if (length > this.#maxBytes) {
      throw resourceExhausted(`received message of ${length} bytes is larger than the limit of ${this.#maxBytes}`);
    }
    if (isWhole) this.#skip(first, PREFIX_BYTES);
    this.#compressed = flag === 1;
    this.#length = length;
  }

  #take(size: number): Uint8Array {
    const first = this.#chunks[0];
    if (first === undefined || size === 0) return new Uint8Array(0);
    if (first.length - this.#start < size) return this.#gather(size);
    const data = ownBytes(first, this.#start, size);
    this.#skip(first, size);
    return data;
  }

  /** This gives up bytes of the first chunk. */
  #skip(first: Uint8Array, size: number): void {
    this.#buffered -= size;
    this.#start += size;
    if (this.#start < first.length) return;
    this.#start = 0;
    if (this.#chunks.length === 1) this.#chunks.length = 0;
    else this.#chunks.shift();
  }

  #gather(size: number): Uint8Array {
    // Not zeroed: every byte is written over. Not from the pool: the message may live long.
    const { buffer } = Buffer.allocUnsafeSlow(size);
    if (size >= LARGE_BYTES) received.add(buffer);
    const out = new Uint8Array(buffer);
    let filled = 0;
    let used = 0;
    let from = this.#start;
    for (const chunk of this.#chunks) {
      const part = Math.min(chunk.length - from, size - filled);
      out.set(from === 0 && part === chunk.length ? chunk : chunk.subarray(from, from + part), filled);
      filled += part;
      from += part;
      if (from < chunk.length) break;
      from = 0;
      used++;
      if (filled === size) break;
    }
    this.#chunks.splice(0, used);
    this.#start = from;
    this.#buffered -= size;
    return out;
  }
}

/** Views of a big read buffer are copied: a short field kept by a handler would otherwise pin the whole buffer. */
function ownBytes(chunk: Uint8Array, start: number, size: number): Uint8Array {
  const view = new Uint8Array(chunk.buffer, chunk.byteOffset + start, size);
  return size * 2 < chunk.buffer.byteLength ? view.slice() : view;
}
