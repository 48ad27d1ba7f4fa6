import { symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { debianLibraries, debianTool, newerTool } from "./debian-tools.ts";

/**
 * This puts CRIU into a directory for PATH, and iptables, by which it closes the network of the processes that it writes down:
 * the older one of the kernel's two kinds, which needs nothing of nftables.
 */
export function criuPrograms(directory: string): void {
  symlinkSync(newerTool("criu"), join(directory, "criu"));
  const extensions = debianLibraries()
    .split(":")
    .map((path) => join(path, "xtables"))
    .join(":");
  for (const name of ["iptables-restore", "ip6tables-restore"]) {
    const environment = `LD_LIBRARY_PATH='${debianLibraries()}' XTABLES_LIBDIR='${extensions}'`;
    const script = `#!/bin/sh\n${environment} exec '${debianTool("xtables-legacy-multi")}' ${name} "$@"\n`;
    writeFileSync(join(directory, name), script, { mode: 0o755 });
  }
}
