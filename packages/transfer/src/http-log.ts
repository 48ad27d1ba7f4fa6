import { HTTPDebug } from "@berth/api/containerd/types/transfer/registry";
import type { RegistryResolver } from "@berth/api/containerd/types/transfer/registry";
import type { Logger } from "@berth/core/log";
import { raceSignal } from "@berth/core/race-signal";
import type { Stream } from "@berth/core/streaming";
import type { HttpStep } from "@berth/remotes";

import { sendBytes } from "./byte-streams.ts";

/** A client that reads no faster than requests are made misses some. */
const MAX_WAITING = 1024;

/** At the end, a client has so long to read what is left. */
const FLUSH_MS = 2000;

/** Where the lines on requests go, until it is disposed: that waits for those that are yet to be sent, for a while. */
export interface HttpLog extends AsyncDisposable {
  readonly onHttp: (line: string) => void;
}

/**
 * This takes lines on requests for whoever wants them: the client, over a stream that it has opened, else the daemon's log. `undefined` when nobody does. Traces, which tell of connections, are the same.
 *
 * @throws not_found - the stream is not there
 */
export function openHttpLog(
  { httpDebug, logsStream }: RegistryResolver,
  open: (id: string) => Stream,
  { log, signal }: { readonly log: Logger; readonly signal?: AbortSignal | undefined },
): HttpLog | undefined {
  if (httpDebug === HTTPDebug.DISABLED) return undefined;
  if (logsStream === "") {
    return { onHttp: (line) => log.info("registry request", { line }), async [Symbol.asyncDispose]() {} };
  }
  const lines = new Lines();
  const stream = open(logsStream);
  // Whoever wanted to read has left: the transfer goes on.
  const sending = sendBytes(stream, lines.read(), { signal }).catch(() => {});
  return {
    onHttp: lines.add,
    async [Symbol.asyncDispose]() {
      lines.end();
      await raceSignal(sending, AbortSignal.timeout(FLUSH_MS)).catch(() => {});
      stream.close();
    },
  };
}

/** This says a step in a line. */
export function formatHttpStep({ event, method, url, status, headers, elapsedMs }: HttpStep): string {
  const shown = Object.entries(headers).map(([name, value]) => `${name}=${JSON.stringify(value)}`);
  const outcome = event === "request" ? ">" : event === "failed" ? "< failed" : `< ${status}`;
  const took = elapsedMs === undefined ? [] : [`${elapsedMs}ms`];
  return [outcome, method, url, ...took, ...shown].join(" ");
}

/** Lines that wait to be sent. */
class Lines {
  readonly #waiting: string[] = [];
  #missed = 0;
  #hasEnded = false;
  #changed = Promise.withResolvers<void>();

  readonly add = (line: string): void => {
    if (this.#waiting.length < MAX_WAITING) this.#waiting.push(line);
    else this.#missed += 1;
    this.#notify();
  };

  end(): void {
    this.#hasEnded = true;
    this.#notify();
  }

  async *read(): AsyncGenerator<Uint8Array, void, undefined> {
    const encoder = new TextEncoder();
    for (;;) {
      const line = this.#waiting.shift();
      if (line !== undefined) yield encoder.encode(`${line}\n`);
      else if (this.#missed > 0) {
        yield encoder.encode(`${this.#missed} more lines\n`);
        this.#missed = 0;
      } else if (this.#hasEnded) return;
      else await this.#changed.promise;
    }
  }

  #notify(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}
