import { randomUUID } from "node:crypto";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";

import { writeFileDurably } from "@berth/core/durable-files";
import { isNotFound } from "@berth/errors";

/**
 * This returns the identity of the daemon's root: made once, kept in `<directory>/uuid`, the same after each restart.
 *
 * @see containerd plugins/services/introspection/local.go
 */
export async function daemonUuid(directory: string): Promise<string> {
  const path = join(directory, "uuid");
  const stored = await readFile(path, "utf8").catch((error: unknown) => {
    if (isNotFound(error)) return "";
    throw error;
  });
  if (/^[0-9a-f-]{36}$/.test(stored.trim())) return stored.trim();
  const uuid = randomUUID();
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await writeFileDurably(path, uuid);
  return uuid;
}
