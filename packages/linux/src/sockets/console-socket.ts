import { rmSync } from "node:fs";

import { invalidArgument } from "@berth/errors";

import { closeFd } from "../files/descriptors.ts";
import { readable } from "../process/control.ts";
import { receiveDescriptors } from "./descriptor-message.ts";
import { acceptUnix, listenUnix } from "./unix-socket.ts";

/** What `receive` takes. */
export interface ReceiveOptions {
  readonly signal?: AbortSignal;
}

/** Where an OCI runtime delivers the master side of a terminal. */
export interface ConsoleSocket extends AsyncDisposable {
  readonly path: string;
  /**
   * This waits for one connection and returns the terminal it sends; the caller closes it. No thread is held meanwhile.
   * @throws invalid_argument - the peer closed, or sent anything but exactly one descriptor
   */
  receive(options?: ReceiveOptions): Promise<number>;
}

/** This listens on a unix socket of at most 107 bytes of path; disposing closes and removes it. */
export function listenConsoleSocket(path: string): ConsoleSocket {
  const listener = listenUnix(path);
  let open = true;
  const disposal = new AbortController();
  const dispose = (): void => {
    if (!open) return;
    open = false;
    disposal.abort(invalidArgument(`console socket ${path} is closed`));
    closeFd(listener);
    rmSync(path, { force: true });
  };
  const receive = async (options: ReceiveOptions = {}): Promise<number> => {
    const signal = AbortSignal.any([disposal.signal, ...(options.signal ? [options.signal] : [])]);
    const connection = await accept(listener, signal);
    try {
      await readable(connection, { signal });
      return single(receiveDescriptors(connection).descriptors, path);
    } finally {
      closeFd(connection);
    }
  };
  return { path, receive, [Symbol.asyncDispose]: async () => dispose() };
}

async function accept(listener: number, signal: AbortSignal): Promise<number> {
  for (;;) {
    await readable(listener, { signal });
    try {
      return acceptUnix(listener);
    } catch (error) {
      // the peer may be gone again by the time it is accepted
      if (!(error instanceof Error && "code" in error && error.code === "EAGAIN")) throw error;
    }
  }
}

function single(descriptors: readonly number[], path: string): number {
  const [first, ...rest] = descriptors;
  if (first !== undefined && rest.length === 0) return first;
  for (const descriptor of descriptors) closeFd(descriptor);
  throw invalidArgument(`console socket ${path}: got ${descriptors.length} descriptors instead of one`);
}
