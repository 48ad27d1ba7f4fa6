import { Code, codeName, codeOf, ConnectError, messageOf, parseCodeName } from "@berth/errors";

/** An error as it travels between threads, whose objects would lose their class on the way. */
export interface RemoteError {
  readonly code: string;
  readonly message: string;
}

/** This takes down the class and text of anything thrown. */
export function toRemoteError(error: unknown): RemoteError {
  return { code: codeName(codeOf(error)), message: messageOf(error) };
}

/** This is the inverse of {@link toRemoteError}; a stack and a cause are not brought back. */
export function fromRemoteError({ code, message }: RemoteError): ConnectError {
  return new ConnectError(message, parseCodeName(code) ?? Code.Unknown);
}
