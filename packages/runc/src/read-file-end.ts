import { closeSync, fstatSync, openSync, readSync } from "node:fs";

/** What of a file's end is wanted. */
export interface FileEndOptions {
  /** No more bytes than these, the last ones. */
  readonly limit: number;
  /** Nothing before it. */
  readonly offset?: number;
  /** Nothing of a file that was last written before this time, in milliseconds since 1970. */
  readonly since?: number;
}

/** This returns the end of a text file; empty where there is none. */
export function readFileEnd(path: string, { limit, offset = 0, since = 0 }: FileEndOptions): string {
  let file: number;
  try {
    file = openSync(path, "r");
  } catch {
    return "";
  }
  try {
    const { size, mtimeMs } = fstatSync(file);
    if (mtimeMs < since) return "";
    const start = Math.max(offset, size - limit);
    const bytes = Buffer.alloc(Math.max(0, Math.min(size - start, limit)));
    return bytes.toString("utf8", 0, readSync(file, bytes, 0, bytes.length, start));
  } finally {
    closeSync(file);
  }
}
