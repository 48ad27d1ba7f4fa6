import { ConnectError } from "@connectrpc/connect";
import { codeOf, messageOf } from "@berth/errors";

/**
 * This turns anything a handler threw into what the caller gets: a `ConnectError` as it is, system and abort errors by
 * their class, everything else as unknown with its own message.
 */
export function toConnectError(error: unknown): ConnectError {
  if (error instanceof ConnectError) return error;
  return new ConnectError(messageOf(error), codeOf(error), undefined, undefined, error);
}
