// Places that the tools share. Runs on Node 20: the checkout's own Node may not be installed yet.
import { existsSync } from "node:fs";
import { join } from "node:path";

export const root = join(import.meta.dirname, "..", "..");
export const cache = join(root, ".cache");

/** The pinned Node of this checkout. */
export function pinnedNode() {
  const path = join(root, "node_modules", `node-linux-${process.arch}`, "bin", "node");
  if (!existsSync(path)) throw new Error(`${path} is missing: run "npx -y pnpm@12.21.0 install"`);
  return path;
}
