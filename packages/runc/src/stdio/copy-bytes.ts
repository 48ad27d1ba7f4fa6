import { systemErrorCode } from "@berth/errors";

import type { ByteSink } from "./byte-sink.ts";

/** What a copy reads from. */
export interface ByteSource extends AsyncIterable<Uint8Array> {
  destroy(): unknown;
}

/** A copy in progress. */
export interface ByteCopy {
  /** Resolves when everything has been handed on and both ends are closed; never rejects. */
  readonly done: Promise<void>;
  /** Whether it is {@link done}. */
  readonly ended: boolean;
  /** Whether the taker is there. */
  readonly connected: boolean;
  /** This ends it now; what has not been handed on is lost. */
  stop(): void;
}

/** What a copy tells. */
export interface CopyOptions {
  /** Opens the taker; the copy waits for it, and the source fills up. */
  readonly open: (options: { readonly signal: AbortSignal }) => Promise<ByteSink>;
  readonly onError: (error: unknown) => void;
}

/**
 * This copies until the source ends, one chunk at a time: what the taker has not taken stays with the writer.
 *
 * When the taker fails, the source is read on and dropped: a full disk must not stop a container.
 */
export function copyBytes(source: ByteSource, options: CopyOptions): ByteCopy {
  const abort = new AbortController();
  let sink: ByteSink | undefined;
  let ended = false;
  const run = async (): Promise<void> => {
    sink = await options.open({ signal: abort.signal });
    let failed = false;
    for await (const chunk of source) {
      if (abort.signal.aborted) return;
      if (failed) continue;
      try {
        await sink.write(chunk);
      } catch (error) {
        failed = true;
        options.onError(error);
      }
    }
  };
  const done = run()
    .catch((error: unknown) => {
      // a terminal's master says EIO when its other side is closed: that is its end
      if (!abort.signal.aborted && systemErrorCode(error) !== "EIO") options.onError(error);
    })
    .finally(() => {
      ended = true;
      sink?.close();
      source.destroy();
    });
  return {
    done,
    get ended() {
      return ended;
    },
    get connected() {
      return sink !== undefined;
    },
    stop: () => {
      if (ended) return;
      abort.abort();
      source.destroy();
      sink?.close();
    },
  };
}
