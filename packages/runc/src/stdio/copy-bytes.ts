import type { ByteSink, OpenSink } from "./byte-sink.ts";

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
  readonly open: OpenSink;
  readonly onError: (error: unknown) => void;
}

/**
 * This copies until the source ends, one chunk at a time: what the taker has not taken stays with the writer.
 *
 * When the taker fails, or cannot be opened, the source is read on and dropped: a full disk must not stop a container.
 */
export function copyBytes(source: ByteSource, options: CopyOptions): ByteCopy {
  const abort = new AbortController();
  let sink: ByteSink | undefined;
  let ended = false;
  let hasFailed = false;
  const fail = (error: unknown): undefined => {
    hasFailed = true;
    if (!abort.signal.aborted) options.onError(error);
  };
  const run = async (): Promise<void> => {
    sink = await options.open({ signal: abort.signal }).catch(fail);
    for await (const chunk of source) {
      if (abort.signal.aborted) return;
      if (!hasFailed) await sink?.write(chunk).catch(fail);
    }
  };
  const done = run()
    .catch(fail)
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
