import { closeSync, openSync, readSync, statSync } from "node:fs";

import { invalidArgument, resourceExhausted } from "@berth/errors";
import { closeFd, pipe2 } from "@berth/linux/files";
import { spawn, waitPid } from "@berth/linux/process";

import { DEFAULT_DECOMPRESSION_BUDGETS, type DecompressionBudgets } from "@berth/archive";

import type { GunzipProgram } from "./layer-job.ts";

const CHUNK_BYTES = 1 << 20;

/**
 * This gunzips a file with a program, which runs on another core meanwhile, and hands the bytes to `take` as they come;
 * they are valid during the call only. It blocks the thread, so it is for workers. The program has ended when this returns
 * or throws.
 *
 * @throws invalid_argument - the program did not like the file
 * @throws resource_exhausted - a budget is exceeded
 */
export function gunzipFile(
  file: string,
  program: GunzipProgram,
  budgets: Partial<DecompressionBudgets> | undefined,
  take: (bytes: Uint8Array) => void,
): void {
  const { maxBytes, maxRatio, ratioFloor } = { ...DEFAULT_DECOMPRESSION_BUDGETS, ...budgets };
  // How much of the file the program has read is not known; all of it is the most that it can be.
  const limit = Math.min(maxBytes, Math.max(ratioFloor, statSync(file).size * maxRatio));
  using child = new RunningProgram(file, program);
  const buffer = new Uint8Array(CHUNK_BYTES);
  let total = 0;
  for (;;) {
    const length = readSync(child.output, buffer);
    if (length === 0) break;
    total += length;
    if (total > limit) throw resourceExhausted(`gzip: more than ${limit} bytes`);
    take(buffer.subarray(0, length));
  }
  const status = child.wait();
  if (status !== 0) throw invalidArgument(`gzip: ${program.path} ended with status ${status}`);
}

class RunningProgram implements Disposable {
  readonly output: number;
  readonly #pid: number;
  #running = true;

  constructor(file: string, { path, args }: GunzipProgram) {
    using closing = new DisposableStack();
    const input = openSync(file, "r");
    closing.defer(() => closeSync(input));
    const [read, write] = pipe2();
    closing.defer(() => closeFd(write));
    try {
      this.#pid = spawn({ path, args, env: {}, stdio: [input, write, "null"] });
    } catch (error) {
      closeFd(read);
      throw error;
    }
    this.output = read;
  }

  wait(): number {
    const exit = waitPid(this.#pid, { noHang: false });
    this.#running = false;
    return exit?.status ?? 0;
  }

  [Symbol.dispose](): void {
    // Without a reader its next write ends it; it may also be waiting for nothing and end by itself.
    closeFd(this.output);
    if (this.#running) this.wait();
  }
}
