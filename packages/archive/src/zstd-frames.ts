import { dataLoss, invalidArgument } from "@berth/errors";

type Field = "magic" | "skip-size" | "descriptor" | "block" | "none";

const FIELD_BYTES: Readonly<Record<Field, number>> = { magic: 4, "skip-size": 4, descriptor: 1, block: 3, none: 0 };
const FRAME_MAGIC = 0xfd2fb528;
const DICTIONARY_ID_BYTES = [0, 1, 2, 4];
const CONTENT_SIZE_BYTES = [0, 2, 4, 8];
const BLOCK_RLE = 1;

/**
 * Finds where zstd frames end, by their block headers and without decoding them.
 *
 * Node's decompressor stops silently behind the first frame when a write goes on past its end, and layers made of many
 * frames are common (seekable zstd). So each write must stop at the end of a frame.
 */
class ZstdFrameFinder {
  #field: Field = "magic";
  #value = 0;
  #have = 0;
  /** Bytes to pass over before the next field. */
  #pass = 0;
  #afterPass: Field = "magic";
  #checksum = false;
  #atBoundary = true;

  /**
   * Takes bytes of `chunk` from `at` on and returns the place behind the frame's last byte, or the end of the chunk.
   *
   * @throws invalid_argument - something else than a frame follows
   */
  frameEnd(chunk: Uint8Array, at: number): number {
    let place = at;
    this.#atBoundary = false;
    while (place < chunk.length) {
      if (this.#pass > 0) {
        const passed = Math.min(this.#pass, chunk.length - place);
        this.#pass -= passed;
        place += passed;
      } else {
        // Fields are little endian.
        this.#value += (chunk[place++] ?? 0) * 2 ** (8 * this.#have++);
        if (this.#have === FIELD_BYTES[this.#field]) this.#take();
      }
      if (this.#pass > 0 || this.#field !== "none") continue;
      const next = this.#afterPass;
      this.#expect(next);
      if (next !== "magic") continue;
      this.#atBoundary = true;
      break;
    }
    return place;
  }

  /** Says that no bytes follow. @throws data_loss - the last frame is not complete */
  end(): void {
    if (!this.#atBoundary) throw dataLoss("zstd: stream is cut off");
  }

  #expect(field: Field): void {
    this.#field = field;
    this.#value = 0;
    this.#have = 0;
  }

  #passThen(bytes: number, next: Field): void {
    this.#pass = bytes;
    this.#afterPass = next;
    this.#expect("none");
  }

  #take(): void {
    const value = this.#value;
    if (this.#field === "magic") this.#magic(value);
    else if (this.#field === "skip-size") this.#passThen(value, "magic");
    else if (this.#field === "descriptor") this.#descriptor(value);
    else this.#block(value);
  }

  #magic(value: number): void {
    if (value === FRAME_MAGIC) return this.#expect("descriptor");
    if (value >>> 4 === 0x184d2a5) return this.#expect("skip-size");
    throw invalidArgument("zstd: bytes that are no frame");
  }

  #descriptor(value: number): void {
    const singleSegment = (value & 0x20) !== 0;
    this.#checksum = (value & 0x04) !== 0;
    const contentSizeFlag = value >> 6;
    const contentSize = contentSizeFlag === 0 && singleSegment ? 1 : (CONTENT_SIZE_BYTES[contentSizeFlag] ?? 0);
    this.#passThen((singleSegment ? 0 : 1) + (DICTIONARY_ID_BYTES[value & 3] ?? 0) + contentSize, "block");
  }

  #block(value: number): void {
    const bytes = ((value >> 1) & 3) === BLOCK_RLE ? 1 : value >> 3;
    if ((value & 1) === 1) this.#passThen(bytes + (this.#checksum ? 4 : 0), "magic");
    else this.#passThen(bytes, "block");
  }
}

/** This cuts a stream so that no chunk crosses the end of a zstd frame. @throws invalid_argument, data_loss */
export async function* splitZstdFrames(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  const finder = new ZstdFrameFinder();
  for await (const chunk of source) {
    for (let at = 0; at < chunk.length;) {
      const end = finder.frameEnd(chunk, at);
      yield chunk.subarray(at, end);
      at = end;
    }
  }
  finder.end();
}
