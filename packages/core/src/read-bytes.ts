import { resourceExhausted } from "@berth/errors";

const FIRST_BYTES = 16 * 1024;

/** This reads something small whole; its chunks are copied, and may be as small as they like. @throws resource_exhausted - it is larger than `limitBytes` */
export async function readBytes(
  chunks: AsyncIterable<Uint8Array>,
  limitBytes: number,
  what: string,
): Promise<Uint8Array> {
  let bytes = new Uint8Array(Math.min(FIRST_BYTES, limitBytes));
  let size = 0;
  for await (const chunk of chunks) {
    const end = size + chunk.length;
    if (end > limitBytes) throw resourceExhausted(`${what} is larger than ${limitBytes} bytes`);
    if (end > bytes.length) bytes = resized(bytes, Math.min(Math.max(end, 2 * bytes.length), limitBytes));
    // Copied: who gives it may use it again.
    bytes.set(chunk, size);
    size = end;
  }
  return resized(bytes, size);
}

function resized({ buffer }: Uint8Array<ArrayBuffer>, length: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(buffer.transfer(length));
}
