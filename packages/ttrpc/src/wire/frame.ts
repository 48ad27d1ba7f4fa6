import { resourceExhausted } from "@berth/errors";

/** The largest payload of one frame, either way. */
export const MAX_PAYLOAD_BYTES = 4 * 1024 * 1024;

export const HEADER_BYTES = 10;

/** What a frame carries. */
export const MessageType = { request: 1, response: 2, data: 3 } as const;

/** Flags of a frame: the sender is done; the sender will send more; there is no message in this frame. */
export const Flag = { remoteClosed: 1, remoteOpen: 2, noData: 4 } as const;

/** One frame as received. A payload above the limit is dropped: `payload` is `undefined` then, `size` what was announced. */
export interface Frame {
  readonly streamId: number;
  readonly type: number;
  readonly flags: number;
  readonly size: number;
  readonly payload: Uint8Array | undefined;
}

/**
 * This writes a frame: ten bytes of header, big endian, and the payload.
 * @throws resource_exhausted - the payload is larger than 4 MiB
 */
export function encodeFrame(streamId: number, type: number, flags: number, payload: Uint8Array): Uint8Array {
  if (payload.length > MAX_PAYLOAD_BYTES) {
    throw resourceExhausted(`message of ${payload.length} bytes is larger than the limit of ${MAX_PAYLOAD_BYTES}`);
  }
  const frame = Buffer.allocUnsafe(HEADER_BYTES + payload.length);
  frame.writeUInt32BE(payload.length, 0);
  frame.writeUInt32BE(streamId, 4);
  frame[8] = type;
  frame[9] = flags;
  frame.set(payload, HEADER_BYTES);
  return frame;
}

/**
 * This cuts the bytes of a connection, given in pieces of any size, into frames.
 *
 * Never throws: any ten bytes are a header. Never holds more than one payload of legal size.
 */
export class FrameParser {
  readonly #onFrame: (frame: Frame) => void;
  readonly #header = Buffer.alloc(HEADER_BYTES);
  #headerFilled = 0;
  #payload: Uint8Array | undefined;
  #payloadFilled = 0;
  #toDrop = 0;

  constructor(onFrame: (frame: Frame) => void) {
    this.#onFrame = onFrame;
  }

  push(chunk: Uint8Array): void {
    let offset = 0;
    while (offset < chunk.length) {
      if (this.#headerFilled < HEADER_BYTES) offset += this.#fillHeader(chunk, offset);
      else if (this.#payload === undefined) offset += this.#drop(chunk.length - offset);
      else offset += this.#fillPayload(this.#payload, chunk, offset);
    }
  }

  #fillHeader(chunk: Uint8Array, offset: number): number {
    const part = Math.min(HEADER_BYTES - this.#headerFilled, chunk.length - offset);
    this.#header.set(chunk.subarray(offset, offset + part), this.#headerFilled);
    this.#headerFilled += part;
    if (this.#headerFilled === HEADER_BYTES) this.#begin();
    return part;
  }

  #begin(): void {
    const size = this.#header.readUInt32BE(0);
    if (size > MAX_PAYLOAD_BYTES) {
      this.#payload = undefined;
      this.#toDrop = size;
      return;
    }
    // A peer that announces 4 MiB and sends nothing costs no page of memory: fresh arrays are mapped when written.
    this.#payload = new Uint8Array(size);
    this.#payloadFilled = 0;
    if (size === 0) this.#emit(this.#payload);
  }

  #fillPayload(payload: Uint8Array, chunk: Uint8Array, offset: number): number {
    const part = Math.min(payload.length - this.#payloadFilled, chunk.length - offset);
    payload.set(chunk.subarray(offset, offset + part), this.#payloadFilled);
    this.#payloadFilled += part;
    if (this.#payloadFilled === payload.length) this.#emit(payload);
    return part;
  }

  #drop(available: number): number {
    const part = Math.min(this.#toDrop, available);
    this.#toDrop -= part;
    if (this.#toDrop === 0) this.#emit(undefined);
    return part;
  }

  #emit(payload: Uint8Array | undefined): void {
    const frame: Frame = {
      size: this.#header.readUInt32BE(0),
      streamId: this.#header.readUInt32BE(4),
      type: this.#header.readUInt8(8),
      flags: this.#header.readUInt8(9),
      payload,
    };
    this.#headerFilled = 0;
    this.#payload = undefined;
    this.#onFrame(frame);
  }
}
