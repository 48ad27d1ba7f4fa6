/**
 * This frees the memory of bytes that nobody needs any more, if they have a buffer for themselves. The collector sees a chunk of a stream as
 * a small object and is late, and where it counts what hangs on it, it goes through the whole heap for every few dozen of them.
 */
export function releaseBytes(bytes: Uint8Array): void {
  const { buffer, byteOffset, byteLength } = bytes;
  if (byteOffset === 0 && byteLength === buffer.byteLength) release(buffer);
}

/**
 * As {@link releaseBytes}, and also for the last of several pieces that a buffer of `ownBytes` was handed out in; no other may be in use.
 * Any other piece may lie in the pool that Node makes small buffers from, and end where it ends: that has other users, and stays.
 */
export function releaseLast(bytes: Uint8Array, ownBytes: number): void {
  const { buffer, byteOffset, byteLength } = bytes;
  const isOwn = buffer.byteLength === ownBytes && ownBytes > Buffer.poolSize;
  if (isOwn && byteOffset + byteLength === ownBytes) release(buffer);
  else releaseBytes(bytes);
}

function release(buffer: ArrayBufferLike): void {
  if (buffer instanceof ArrayBuffer) buffer.transfer(0);
}
