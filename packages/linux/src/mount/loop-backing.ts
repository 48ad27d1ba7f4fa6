import { readdirSync, readFileSync, realpathSync } from "node:fs";

const BLOCK_DEVICES = "/sys/block";

/** This lists the loop devices that a file is attached to. A second one would write past the caches of the first. */
export function findLoopDevices(file: string): string[] {
  const path = realpathSync(file);
  return readdirSync(BLOCK_DEVICES)
    .filter((name) => /^loop\d+$/.test(name) && backingFile(name) === path)
    .map((name) => `/dev/${name}`);
}

function backingFile(name: string): string | undefined {
  try {
    return readFileSync(`${BLOCK_DEVICES}/${name}/loop/backing_file`, "utf8").replace(/\n$/, "");
  } catch {
    // not attached
    return undefined;
  }
}
