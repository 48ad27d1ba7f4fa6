import { closeSync, constants, openSync } from "node:fs";

import { failedPrecondition, invalidArgument, systemErrorCode } from "@berth/errors";
import { O_PATH, openat2, RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS } from "@berth/linux/files";

/** A name in a directory that is open; disposing closes that. */
export interface Place extends Disposable {
  readonly directory: number;
  readonly name: string;
}

const LEADS_OUT = new Set(["EXDEV", "ELOOP"]);

/** Directories below which a mount may have files and directories made for it. */
export class AllowedRoots {
  readonly #roots: readonly string[];

  constructor(roots: readonly string[]) {
    this.#roots = roots.map((root) => root.replace(/\/+$/, ""));
  }

  /**
   * This opens the directory of a path. No link is followed below a root: what is there may be the work of a container.
   *
   * @throws invalid_argument - the path is not absolute and plain
   * @throws failed_precondition - it lies below none of the roots, or its directory does not exist
   */
  open(path: string): Place {
    const parts = path.split("/");
    const [first, ...names] = parts;
    const isPlain =
      first === "" && names.length > 0 && names.every((name) => name !== "" && name !== "." && name !== "..");
    if (!isPlain || path.includes("\0")) throw invalidArgument(`${JSON.stringify(path)} is no absolute, plain path`);
    const root = this.#roots.find((each) => path.startsWith(`${each}/`));
    if (root === undefined)
      throw failedPrecondition(`${path} is not below a directory in which mounts may be prepared`);
    const below = path.slice(root.length + 1).split("/");
    const name = below.pop() ?? "";
    return this.#open(root, below.join("/"), name, path);
  }

  #open(root: string, below: string, name: string, path: string): Place {
    try {
      using stack = new DisposableStack();
      const top = stack.adopt(openSync(root, O_PATH | constants.O_DIRECTORY), closeSync);
      const resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
      const flags = constants.O_RDONLY | constants.O_DIRECTORY;
      const directory = openat2(top, below === "" ? "." : below, { flags, resolve });
      return { directory, name, [Symbol.dispose]: () => closeSync(directory) };
    } catch (error) {
      const code = systemErrorCode(error) ?? "";
      if (LEADS_OUT.has(code)) throw failedPrecondition(`${path} goes by way of a link`, { cause: error });
      if (code === "ENOENT" || code === "ENOTDIR") {
        throw failedPrecondition(`the directory of ${path} does not exist`, { cause: error });
      }
      throw error;
    }
  }
}
