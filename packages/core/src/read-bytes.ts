import { resourceExhausted } from "@berth/errors";

/** This reads something small whole; its chunks are copied. @throws resource_exhausted - it is larger than `limitBytes` */
export async function readBytes(
  chunks: AsyncIterable<Uint8Array>,
  limitBytes: number,
  what: string,
): Promise<Uint8Array> {
  const copies: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of chunks) {
    size += chunk.length;
    if (size > limitBytes) throw resourceExhausted(`${what} is larger than ${limitBytes} bytes`);
    // Who gives it may use it again.
    copies.push(new Uint8Array(chunk));
  }
  return Buffer.concat(copies);
}
