/** What one archive may cost. A budget that is exceeded ends the reading with resource_exhausted. */
export interface TarBudgets {
  /** Bytes of the uncompressed archive. */
  readonly maxBytes: number;
  /** Headers of any kind, extension headers included. */
  readonly maxEntries: number;
  /** Bytes of one extension header (PAX records, GNU long name, sparse map): the only thing that is buffered. */
  readonly maxExtensionBytes: number;
  /** Bytes of one path or link target. */
  readonly maxPathBytes: number;
  /** Components of one path. */
  readonly maxDepth: number;
  /** Bytes of one file, holes included. */
  readonly maxFileBytes: number;
}

/** Generous enough for every image known, small enough that a bomb ends. */
export const DEFAULT_TAR_BUDGETS: TarBudgets = {
  maxBytes: 2 ** 40,
  maxEntries: 20_000_000,
  maxExtensionBytes: 2 ** 20,
  maxPathBytes: 4096,
  maxDepth: 1024,
  maxFileBytes: 2 ** 44,
};

/** What one compressed stream may become. */
export interface DecompressionBudgets {
  /** Bytes after decompression. */
  readonly maxBytes: number;
  /** Bytes out per byte in, judged once `ratioFloor` bytes have come out. gzip cannot exceed about 1032. */
  readonly maxRatio: number;
  readonly ratioFloor: number;
}

export const DEFAULT_DECOMPRESSION_BUDGETS: DecompressionBudgets = {
  maxBytes: 2 ** 40,
  maxRatio: 20_000,
  ratioFloor: 2 ** 30,
};
