import { fstatSync, readSync } from "node:fs";

import { invalidArgument, systemErrorCode } from "@berth/errors";

const LIMIT = 10 * 1024 * 1024;

/**
 * This reads the standard input to its end; a terminal, /dev/null and a closed descriptor count as empty.
 * @throws invalid_argument - it is longer than 10 MiB
 */
export async function readStdin(): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of stdinChunks()) {
    size += chunk.length;
    if (size > LIMIT) throw invalidArgument(`standard input is longer than ${LIMIT} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

async function* stdinChunks(): AsyncGenerator<Uint8Array> {
  if (isEmptyInput()) return;
  const buffer = new Uint8Array(64 * 1024);
  try {
    for (let count = readSync(0, buffer); count > 0; count = readSync(0, buffer)) yield buffer.slice(0, count);
  } catch (error) {
    // a non-blocking pipe that is still being written
    if (systemErrorCode(error) !== "EAGAIN") throw error;
    for await (const chunk of process.stdin) yield chunk;
  }
}

function isEmptyInput(): boolean {
  try {
    return fstatSync(0).isCharacterDevice();
  } catch {
    return true;
  }
}
