import { open } from "node:fs/promises";

import type { Logger } from "@berth/core/log";
import { messageOf, systemErrorCode } from "@berth/errors";
import { fallocate } from "@berth/linux/files";

/** Enough for thousands of removals, each of which writes a few pages before it frees any. */
const RESERVE_BYTES = 8n << 20n;

/**
 * This reserves blocks past the end of a database, whose size it does not change: on a full disk, removing something must work.
 * Where the file system cannot do that, or is full already, the database works without.
 */
export async function reserveSpace(path: string, log: Logger): Promise<void> {
  await using file = await open(path, "r+");
  const { size } = await file.stat({ bigint: true });
  try {
    fallocate(file.fd, size, RESERVE_BYTES, { keepSize: true });
  } catch (error) {
    const code = systemErrorCode(error);
    if (code !== "EOPNOTSUPP" && code !== "ENOSPC") throw error;
    log.debug("no space reserved for the database", { path, error: messageOf(error) });
  }
}
