import type { DescMethod } from "@bufbuild/protobuf";
import type { ConnectError } from "@connectrpc/connect";
import type { ErrorClass } from "@berth/errors";
import { codeName } from "@berth/errors";
import type { Logger } from "@berth/core/log";

/** One finished call, as metrics want it. */
export interface CallRecord {
  readonly service: string;
  readonly method: string;
  readonly code: ErrorClass | "ok";
  readonly durationMs: number;
}

/** Hears of each call once, when it has ended. */
export interface CallObserver {
  callEnded(method: DescMethod, error: ConnectError | undefined, startedAtMs: number): void;
}

/** This makes an observer that logs failed calls at debug level and hands every call to `onCall`. */
export function createObserver(log: Logger, onCall: ((record: CallRecord) => void) | undefined): CallObserver {
  return {
    callEnded(method, error, startedAtMs) {
      if (error === undefined && onCall === undefined) return;
      const record: CallRecord = {
        service: method.parent.typeName,
        method: method.name,
        code: error === undefined ? "ok" : codeName(error.code),
        durationMs: performance.now() - startedAtMs,
      };
      if (error !== undefined) log.debug("call failed", { ...record, error: error.rawMessage });
      onCall?.(record);
    },
  };
}
