import { wrapError } from "@berth/errors";

import { isBrokenPipe } from "./broken-pipe.ts";

let failure: Error | undefined;

/**
 * This listens to what becomes of standard output and error, whoever writes to them; to be called once, first. Not done as this module loads: it is part of
 * a start-up snapshot, which must not hold the streams of its maker.
 */
export function watchOutput(): void {
  // `ctr … | head` closes the pipe early: that is the reader's choice, not a failure of ctr.
  process.stdout.on("error", (error) => {
    failure ??= error;
  });
  // There is nobody left to tell.
  process.stderr.on("error", () => {});
}

/** This writes to standard output. Failures are told by {@link flushOutput}; after a reader went away nothing happens. */
export function print(text: string | Uint8Array): void {
  if (failure === undefined) process.stdout.write(text);
}

/** This waits until what was printed has been taken, so that long outputs do not gather in memory. */
export async function printAndWait(bytes: Uint8Array): Promise<void> {
  if (failure !== undefined) return;
  await new Promise<void>((resolve) => {
    // A failure is kept by the listener above.
    process.stdout.write(bytes, () => resolve());
  });
}

/** Whether nobody reads the output any more: long printing may stop. */
export function isOutputClosed(): boolean {
  return failure !== undefined;
}

/** Whether the reader of the output went away, which ends commands without a word. */
export function isReaderGone(): boolean {
  return failure !== undefined && isBrokenPipe(failure);
}

/** This waits for what was printed. @throws the error of the write, unless the reader just went away */
export async function flushOutput(): Promise<void> {
  // Also when all seems written: a failure is told a moment later than the write returns.
  await printAndWait(new Uint8Array());
  if (failure !== undefined && !isBrokenPipe(failure)) throw wrapError(failure, "write to standard output");
}
