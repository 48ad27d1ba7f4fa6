import type { ConnectError } from "@berth/errors";
import { deadlineExceeded, failedPrecondition, unavailable, wrapError } from "@berth/errors";

import { isLocalhost } from "../hosts/default-host.ts";

const TIMEOUTS: ReadonlySet<string> = new Set([
  "UND_ERR_CONNECT_TIMEOUT",
  "UND_ERR_HEADERS_TIMEOUT",
  "UND_ERR_BODY_TIMEOUT",
  "ETIMEDOUT",
]);
const TLS_REFUSED = /^(?:ERR_TLS_|CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|ERR_SSL_|HOSTNAME_MISMATCH)/;
/** What OpenSSL says when the other side speaks no TLS. */
const NOT_TLS = /WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG|HTTP_REQUEST/;

/** This gives an error of a connection its class; what was cancelled fails with the reason of its signal. */
export function toTransportError(error: unknown, doing: string, signal?: AbortSignal): unknown {
  if (signal?.aborted === true) return signal.reason;
  const code = codeOfCause(error);
  if (code !== undefined && TIMEOUTS.has(code))
    return deadlineExceeded(`${doing}: no answer in time`, { cause: error });
  if (code !== undefined && TLS_REFUSED.test(code)) return tlsError(error, doing, code);
  if (error instanceof Error && error.name === "HTTPParserError")
    return unavailable(`${doing}: the answer is no HTTP`, { cause: error });
  if (code !== undefined) return unavailable(`${doing}: ${describe(error, code)}`, { cause: error });
  return wrapError(error, doing);
}

/**
 * This says whether a server that was spoken to by TLS does not speak it. One of this machine may also say nothing, as one does that waits for a line of HTTP; of others that only
 * says that nothing comes through, by which nobody may get a password out of us in the clear.
 */
export function isNotTls(error: unknown, host: string): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    const { code } = cause as { readonly code?: unknown };
    if (typeof code === "string" && NOT_TLS.test(code)) return true;
    if (code === "UND_ERR_CONNECT_TIMEOUT" && isLocalhost(host)) return true;
  }
  return false;
}

function tlsError(error: unknown, doing: string, code: string): ConnectError {
  return failedPrecondition(
    `${doing}: the server's certificate is not accepted (${code}): name its authority with "ca" in hosts.toml, or as a .crt file beside it`,
    { cause: error },
  );
}

function codeOfCause(error: unknown): string | undefined {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    // Errors of sockets, TLS and undici have one.
    const { code } = cause as { readonly code?: unknown };
    if (typeof code === "string") return code;
  }
  return undefined;
}

function describe(error: unknown, code: string): string {
  const message = error instanceof Error ? error.message : "";
  return message === "" || message.includes(code) ? message || code : `${message} (${code})`;
}
