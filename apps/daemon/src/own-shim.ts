import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";

const NAME = "containerd-shim-berth-v2";

/**
 * This returns the path of berth's own shim: `BERTH_SHIM`, as the launchers set it, else the first on PATH, else its bare name,
 * whose start then fails with a message that names it.
 */
export function findOwnShim(): string {
  const { BERTH_SHIM: configured, PATH: path = "" } = process.env;
  if (configured) return configured;
  return (
    path
      .split(delimiter)
      .map((directory) => join(directory, NAME))
      .find(isExecutable) ?? NAME
  );
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
