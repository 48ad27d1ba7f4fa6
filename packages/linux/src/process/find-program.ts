import { accessSync, constants } from "node:fs";
import { join } from "node:path";

/** Service managers may leave these out of PATH. */
const SYSTEM_DIRECTORIES = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

/** This finds a program on PATH, or where those of the system are; `undefined` when there is none. */
export function findProgram(name: string, path = process.env["PATH"] ?? ""): string | undefined {
  return findOnPath(name, [path, ...SYSTEM_DIRECTORIES].join(":"));
}

/** This finds a program on PATH and nowhere else; `undefined` when there is none. */
export function findOnPath(name: string, path = process.env["PATH"] ?? ""): string | undefined {
  // an empty or relative entry means the working directory, from where no program is taken
  const directories = path.split(":").filter((directory) => directory.startsWith("/"));
  return directories.map((directory) => join(directory, name)).find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
