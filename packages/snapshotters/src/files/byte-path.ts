import { closeSync, openSync } from "node:fs";

/** A path as bytes: names in images need not be UTF-8. */
export type BytePath = Buffer;

/** Well below the 4,096 bytes at which the kernel refuses a path, with room for one more name. */
const LONG_PATH_BYTES = 3_500;
const SEPARATOR = Buffer.from("/");

/** This names an entry of a directory. */
export function joinBytes(directory: BytePath, name: Uint8Array): BytePath {
  return Buffer.concat([directory, SEPARATOR, name]);
}

/**
 * This calls `fn` with a path of the directory that is short enough for names below it, however deep the tree is.
 * The path is valid until `fn` returns.
 */
export function withShortPath<T>(directory: BytePath, fn: (path: BytePath) => T): T {
  if (directory.length < LONG_PATH_BYTES) return fn(directory);
  const descriptor = openSync(directory, "r");
  try {
    return fn(Buffer.from(`/proc/self/fd/${descriptor}`));
  } finally {
    closeSync(descriptor);
  }
}
