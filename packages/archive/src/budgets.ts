import { resourceExhausted } from "@berth/errors";

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

/** This says that a budget of an archive is used up. */
export function exceeded(what: string, budget: number): Error {
  return resourceExhausted(`tar: more than ${budget} ${what}`);
}

/** This holds a path against the budgets for its bytes and components. @throws resource_exhausted */
export function checkPathBudgets(path: string, raw: Uint8Array | undefined, budgets: TarBudgets): void {
  const { maxPathBytes, maxDepth } = budgets;
  // A character of the string stands for one byte at least.
  const bytes = raw?.length ?? (path.length * 3 > maxPathBytes ? Buffer.byteLength(path) : 0);
  if (bytes > maxPathBytes) throw exceeded("path bytes", maxPathBytes);
  let depth = 0;
  for (let at = path.indexOf("/"); at >= 0; at = path.indexOf("/", at + 1)) depth++;
  if (depth > maxDepth) throw exceeded("path components", maxDepth);
}

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
