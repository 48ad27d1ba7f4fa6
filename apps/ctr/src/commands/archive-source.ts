import { open } from "node:fs/promises";

import { invalidArgument, wrapError } from "@berth/errors";
import type { RandomAccess } from "@berth/images";

/** An archive that was named on the command line. */
export interface ArchiveSource extends AsyncDisposable {
  readonly chunks: AsyncIterable<Uint8Array>;
  /** Not known of standard input. */
  readonly size?: number;
  /** Of a file, which can be read anywhere; until this is disposed. */
  readonly lookAhead?: RandomAccess;
}

/** This opens a file, or standard input for `-`. @throws not_found, permission_denied - the file; invalid_argument - a directory */
export async function openArchiveSource(path: string): Promise<ArchiveSource> {
  if (path === "-") return { chunks: process.stdin, [Symbol.asyncDispose]: async () => void process.stdin.destroy() };
  try {
    await using undo = new AsyncDisposableStack();
    const file = undo.use(await open(path));
    const stats = await file.stat();
    if (stats.isDirectory()) throw invalidArgument("is a directory, not an archive");
    undo.move();
    const close = (): Promise<void> => file.close();
    // With a place of its own in the file, which it does not close.
    const chunks = file.createReadStream({
      highWaterMark: 1 << 20,
      autoClose: false,
      ...(stats.isFile() ? { start: 0 } : {}),
    });
    if (!stats.isFile()) return { chunks, [Symbol.asyncDispose]: close };
    const readAt = async (position: number, length: number): Promise<Uint8Array> => {
      const bytes = new Uint8Array(length);
      let filled = 0;
      while (filled < length) {
        const { bytesRead } = await file.read(bytes, filled, length - filled, position + filled);
        if (bytesRead === 0) break;
        filled += bytesRead;
      }
      return bytes.subarray(0, filled);
    };
    return { chunks, size: stats.size, lookAhead: { size: stats.size, readAt }, [Symbol.asyncDispose]: close };
  } catch (error) {
    throw wrapError(error, `open ${path}`);
  }
}
