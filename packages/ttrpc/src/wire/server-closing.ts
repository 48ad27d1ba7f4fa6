import { unavailable } from "@berth/errors";
import { ConnectError } from "@connectrpc/connect";

const DETAIL = "berth.ttrpc.v1.ServerClosing";

/** This makes the error of class `unavailable` that answers a call which was not begun and will not be: the server is about to end. */
export function serverClosing(message = "ttrpc: server closing"): ConnectError {
  const error = unavailable(message);
  error.details.push({ type: DETAIL, value: new Uint8Array(0) });
  return error;
}

/** Whether an error is one of {@link serverClosing}, also from the other end of a connection, and with context added. */
export function isServerClosing(error: unknown): boolean {
  return error instanceof ConnectError && error.details.some((detail) => "type" in detail && detail.type === DETAIL);
}
