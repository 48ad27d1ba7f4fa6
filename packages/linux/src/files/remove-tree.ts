import { constants, readdirSync } from "node:fs";

import { systemErrorCode } from "@berth/errors";
import { AT_REMOVEDIR, descriptorPath, openat2, renameat2, unlinkat } from "./at-calls.ts";
import { closeFd } from "./descriptors.ts";

/** Deeper than this, directories are moved up first: one descriptor is open per level. */
const MAX_OPEN_LEVELS = 64;
const DIRECTORY = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

/**
 * This removes what `name` is in the directory, with everything below, however deep and whatever the names; links are removed,
 * not followed. Absent is fine. It blocks the thread; `checkpoint` is called for each directory and stops it by throwing.
 *
 * `fs.rm` cannot do it: it fails on trees deeper than a path may be long and on names that are not UTF-8.
 */
export function removeTree(parent: number, name: string | Buffer, checkpoint: () => void = () => {}): void {
  if (unlinkFile(parent, name)) return;
  const top = openat2(parent, name, { flags: DIRECTORY });
  try {
    const state = { top, moved: 0, checkpoint };
    emptyDirectory(top, 1, state);
    // What was moved up is itself no deeper than what was, so that this ends.
    while (state.moved > 0) {
      state.moved = 0;
      emptyDirectory(top, 1, state);
    }
  } finally {
    closeFd(top);
  }
  unlinkat(parent, name, AT_REMOVEDIR);
}

interface Removal {
  readonly top: number;
  readonly checkpoint: () => void;
  moved: number;
}

function emptyDirectory(directory: number, level: number, state: Removal): void {
  state.checkpoint();
  for (const name of readdirSync(descriptorPath(directory), { encoding: "buffer" })) {
    if (unlinkFile(directory, name)) continue;
    if (level === MAX_OPEN_LEVELS) {
      renameat2(directory, name, state.top, `.berth-removed-${state.moved++}-${process.hrtime.bigint()}`);
      continue;
    }
    const child = openat2(directory, name, { flags: DIRECTORY });
    try {
      emptyDirectory(child, level + 1, state);
    } finally {
      closeFd(child);
    }
    unlinkat(directory, name, AT_REMOVEDIR);
  }
}

/** Says whether the name is gone; `false` means that it is a directory. */
function unlinkFile(directory: number, name: string | Buffer): boolean {
  try {
    unlinkat(directory, name);
    return true;
  } catch (error) {
    const code = systemErrorCode(error);
    if (code === "ENOENT") return true;
    if (code === "EISDIR") return false;
    throw error;
  }
}
