export {
  DEFAULT_DECOMPRESSION_BUDGETS,
  DEFAULT_TAR_BUDGETS,
  type DecompressionBudgets,
  type TarBudgets,
} from "./budgets.ts";
export { type Compression, COMPRESSION_MAGIC_BYTES, detectCompression } from "./compression.ts";
export { compress } from "./compress.ts";
export { decompress, type DecompressOptions } from "./decompress.ts";
export { type DirectoryAttributes, directoryHeaders, ImpliedDirectories } from "./implied-directories.ts";
export { readTar, type TarEntry } from "./read-tar.ts";
export { type RandomAccess, scanTar, type TarLocation } from "./scan-tar.ts";
export { releaseBytes } from "./release-bytes.ts";
export { takesMore } from "./takes-more.ts";
export type { TarEntryType, TarHeader, TarTime } from "./tar-header.ts";
export type { TarHandlers } from "./tar-handlers.ts";
export { createTarReader, TarReader } from "./tar-reader.ts";
export {
  formatTarHeader,
  TAR_END_MARKER,
  type TarEntryInput,
  type TarEntryWithContent,
  tarPadding,
  writeTar,
} from "./tar-writer.ts";
