import { resourceExhausted } from "@berth/errors";

/** This reads a small body whole. @throws resource_exhausted - it is larger than `limitBytes` */
export async function readBytes(
  body: AsyncIterable<Uint8Array>,
  limitBytes: number,
  what: string,
): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.length;
    if (size > limitBytes) throw resourceExhausted(`${what} is larger than ${limitBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
