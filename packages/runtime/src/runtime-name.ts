import { constants } from "node:fs";
import { access, stat } from "node:fs/promises";
import { delimiter, isAbsolute, join } from "node:path";

import { invalidArgument, notFound } from "@berth/errors";

/** Where shim binaries are looked for, beside an absolute name. */
export interface ShimSearch {
  /** Directories in order; the first that holds the binary wins. */
  readonly directories: readonly string[];
}

/**
 * This returns the file name that containerd's rule gives a runtime: `io.containerd.runc.v2` → `containerd-shim-runc-v2`.
 *
 * @throws invalid_argument - it has a slash, begins with a dot, or has fewer than two parts
 * @see containerd core/runtime/v2/shim/util.go, BinaryName
 */
export function shimBinaryName(runtime: string): string {
  const parts = runtime.split(".");
  const [name, version] = parts.slice(-2);
  if (runtime.includes("/") || parts.length < 2 || !name || !version || parts[0] === "") {
    throw invalidArgument(`invalid runtime name ${JSON.stringify(runtime)}, correct is like io.containerd.runc.v2`);
  }
  return `containerd-shim-${name}-${version}`;
}

/** This says where berth looks for shims: the directories of PATH after the working directory, then `beside`. */
export function shimSearch(path: string | undefined, beside: readonly string[] = []): ShimSearch {
  const listed = (path ?? "").split(delimiter).filter((directory) => isAbsolute(directory));
  return { directories: [process.cwd(), ...listed, ...beside] };
}

/**
 * This finds the binary of a runtime: an absolute path as it is, any other name by {@link shimBinaryName}.
 *
 * @throws invalid_argument - the name is malformed
 * @throws not_found - there is no such binary, or it may not be run
 */
export async function findShimBinary(runtime: string, search: ShimSearch): Promise<string> {
  if (runtime === "") throw invalidArgument("runtime name must not be empty");
  if (isAbsolute(runtime)) {
    if (await isExecutable(runtime)) return runtime;
    throw notFound(`runtime ${JSON.stringify(runtime)}: no such binary`);
  }
  const name = shimBinaryName(runtime);
  for (const directory of search.directories) {
    const path = join(directory, name);
    if (await isExecutable(path)) return path;
  }
  throw notFound(`runtime ${JSON.stringify(runtime)}: binary ${name} not installed`);
}

async function isExecutable(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch {
    return false;
  }
}
