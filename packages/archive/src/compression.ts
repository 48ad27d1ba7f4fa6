/** How a stream is compressed, as its first bytes tell. */
export type Compression = "gzip" | "zstd" | "none";

/** So many bytes are enough for {@link detectCompression}. */
export const COMPRESSION_MAGIC_BYTES = 4;

/** This tells by magic: gzip, a zstd frame or a skippable zstd frame; fewer than the needed bytes are `none`. */
export function detectCompression(start: Uint8Array): Compression {
  if (start.length >= 3 && start[0] === 0x1f && start[1] === 0x8b && start[2] === 8) return "gzip";
  if (start.length < COMPRESSION_MAGIC_BYTES) return "none";
  const [a = 0, b = 0, c = 0, d = 0] = start;
  if (a === 0x28 && b === 0xb5 && c === 0x2f && d === 0xfd) return "zstd";
  if ((a & 0xf0) === 0x50 && b === 0x2a && c === 0x4d && d === 0x18) return "zstd";
  return "none";
}
