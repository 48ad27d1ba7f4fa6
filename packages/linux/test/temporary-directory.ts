import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { unmountRecursive } from "../src/mount.ts";

/** A directory for one test; disposing unmounts everything below it before it is removed. */
export interface TemporaryDirectory extends AsyncDisposable {
  readonly path: string;
}

export function temporaryDirectory(): TemporaryDirectory {
  const path = mkdtempSync(join(tmpdir(), "berth-linux-"));
  return {
    path,
    [Symbol.asyncDispose]: async () => {
      await unmountRecursive(path);
      rmSync(path, { recursive: true, force: true });
    },
  };
}
