import { constants } from "node:fs";

import { systemErrorCode } from "@berth/errors";
import { AT_FDCWD, closeFd, openat2, RESOLVE_IN_ROOT } from "@berth/linux/files";

import { toNative } from "./native-name.ts";

const DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY;
const MAX_RACES = 32;

/** The directories of the layers below one, the nearest first. Owns descriptors. */
export class LowerLayers implements Disposable {
  readonly #paths: readonly string[];
  readonly #fds: number[] = [];

  constructor(paths: readonly string[]) {
    this.#paths = paths;
  }

  /** This opens what shows through as a directory at a clean path, for the caller to close; `undefined` where nothing does. */
  open(path: string): number | undefined {
    for (const [index, lower] of this.#paths.entries()) {
      const root = (this.#fds[index] ??= openat2(AT_FDCWD, lower, { flags: DIRECTORY }));
      try {
        const fd = openInRoot(root, path);
        if (fd !== undefined) return fd;
      } catch (error) {
        // A layer between has something else there: what is below it does not show through.
        if (systemErrorCode(error) === "ENOTDIR") return undefined;
        throw error;
      }
    }
    return undefined;
  }

  [Symbol.dispose](): void {
    for (const fd of this.#fds.splice(0)) if (fd !== undefined) closeFd(fd);
  }
}

/** This opens the directory at a clean path as if `root` were `/`; `undefined` where there is none. */
export function openInRoot(root: number, path: string): number | undefined {
  const name = toNative(path);
  for (let races = 0; ; races++) {
    try {
      return openat2(root, name, { flags: DIRECTORY, resolve: RESOLVE_IN_ROOT });
    } catch (error) {
      const code = systemErrorCode(error);
      if (code === "ENOENT") return undefined;
      // A rename elsewhere on the machine raced with `..` in a link.
      if (code !== "EAGAIN" || races === MAX_RACES) throw error;
    }
  }
}
