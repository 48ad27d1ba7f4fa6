import { findOnPath } from "@berth/linux/process";

const NAME = "containerd-shim-berth-v2";

/**
 * This returns the path of berth's own shim: `BERTH_SHIM`, as the launchers set it, else the first on PATH, else its bare name,
 * whose start then fails with a message that names it.
 */
export function findOwnShim(): string {
  return process.env["BERTH_SHIM"] || (findOnPath(NAME) ?? NAME);
}
