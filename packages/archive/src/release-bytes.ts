/**
 * This frees the memory of bytes that nobody needs any more, if they have a buffer for themselves. The collector sees a chunk of a stream as
 * a small object and is late, and where it counts what hangs on it, it goes through the whole heap for every few dozen of them.
 */
export function releaseBytes(bytes: Uint8Array): void {
  if (bytes.byteOffset === 0) releaseLast(bytes);
}

/** As {@link releaseBytes}, for the last of several pieces that a buffer was handed out in; no other may be in use. */
export function releaseLast({ buffer, byteOffset, byteLength }: Uint8Array): void {
  if (buffer instanceof ArrayBuffer && byteOffset + byteLength === buffer.byteLength) buffer.transfer(0);
}
