import { randomBytes } from "node:crypto";
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";

import type { ProcessIo } from "@berth/core/runtime";
import { wrapError } from "@berth/errors";

/** Where named pipes go when `--fifo-dir` does not say. */
const DEFAULT_FIFO_DIRECTORY = "/run/berth/fifo";

/** What to make pipes for. */
export interface FifoSetOptions {
  /** Base directory; empty for {@link DEFAULT_FIFO_DIRECTORY}. */
  readonly directory: string;
  /** Id of the container, or of the exec. */
  readonly id: string;
  readonly terminal: boolean;
}

/** The named pipes of one process, in a directory of their own. Disposing removes them. */
export interface FifoSet extends AsyncDisposable {
  readonly paths: ProcessIo;
}

/** This makes the pipes, which only root can open. A terminal has no separate standard error. */
export async function makeFifos({ directory, id, terminal }: FifoSetOptions): Promise<FifoSet> {
  const base = directory === "" ? DEFAULT_FIFO_DIRECTORY : directory;
  const own = join(base, randomBytes(8).toString("hex"));
  try {
    await mkdir(base, { recursive: true, mode: 0o700 });
    await mkdir(own, { mode: 0o700 });
  } catch (error) {
    throw wrapError(error, `make a directory for pipes below ${base}`);
  }
  await using undo = new AsyncDisposableStack();
  const remove = (): Promise<void> => rm(own, { recursive: true, force: true });
  undo.defer(remove);
  const { mkfifo } = await import("@berth/linux/files");
  const make = (name: string): string => {
    const path = join(own, `${id}-${name}`);
    mkfifo(path, 0o700);
    return path;
  };
  const paths = {
    stdin: make("stdin"),
    stdout: make("stdout"),
    stderr: terminal ? "" : make("stderr"),
    terminal,
  };
  undo.move();
  return { paths, [Symbol.asyncDispose]: remove };
}
