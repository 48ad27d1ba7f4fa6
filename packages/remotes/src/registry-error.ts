import { readBytes } from "@berth/core/read-bytes";
import type { ConnectError } from "@berth/errors";
import {
  failedPrecondition,
  internal,
  invalidArgument,
  notFound,
  permissionDenied,
  resourceExhausted,
  unauthenticated,
  unavailable,
} from "@berth/errors";

import type { HttpResponse } from "./http/exchange.ts";
import { printable } from "./http/exchange.ts";

const MAX_ERROR_BODY_BYTES = 64 * 1024;
/** Others may have what this host refuses: they are not kept waiting for its reasons. What is left is then discarded, which may take as long again. */
const MAX_ERROR_BODY_MS = 1000;
const MAX_TEXT = 500;
/** What a host answers that may have what it was asked for, at another time. */
export const BUSY_STATUSES: ReadonlySet<number> = new Set([408, 429]);
const busy = new WeakSet<object>();
const CLASSES: ReadonlyMap<number, (text: string) => ConnectError> = new Map([
  [400, invalidArgument],
  [401, unauthenticated],
  [403, permissionDenied],
  [404, notFound],
  [408, unavailable],
  [416, failedPrecondition],
  [429, resourceExhausted],
]);

/** This makes an error of an answer, with what its body says; the body is consumed. */
export async function registryError(response: HttpResponse, doing: string): Promise<ConnectError> {
  const { status } = response;
  const make = CLASSES.get(status) ?? (status >= 500 ? unavailable : status >= 400 ? failedPrecondition : internal);
  const said = await readErrors(response);
  const error = make(`${doing}: ${printable(response.url)} answered ${status}${said === "" ? "" : `: ${said}`}`);
  if (BUSY_STATUSES.has(status)) busy.add(error);
  return error;
}

/** This says whether an error is that of a host which was too busy: its code alone does not, others have the same. */
export function isBusy(error: unknown): boolean {
  return busy.has(Object(error));
}

async function readErrors(response: HttpResponse): Promise<string> {
  let text: string;
  const late = setTimeout(() => void response.discard(), MAX_ERROR_BODY_MS);
  try {
    text = Buffer.from(await readBytes(response.body, MAX_ERROR_BODY_BYTES, "error")).toString("utf8");
  } catch {
    // The status counts; what was to explain it is lost.
    await response.discard();
    return "";
  } finally {
    clearTimeout(late);
  }
  return oneLine(parseErrors(text) ?? (/^\s*[<{]/.test(text) ? "" : text));
}

/** The form of errors in the distribution specification: `{"errors":[{"code":…,"message":…}]}`. */
function parseErrors(text: string): string | undefined {
  try {
    const { errors } = JSON.parse(text) as { readonly errors?: unknown };
    if (!Array.isArray(errors)) return undefined;
    return errors
      .slice(0, 10)
      .map((each: unknown) => {
        const { code, message } = Object(each) as { readonly code?: unknown; readonly message?: unknown };
        return [code, message].filter((part) => typeof part === "string" && part !== "").join(": ");
      })
      .join(", ");
  } catch {
    return undefined;
  }
}

/** What a server says is shown on a terminal. */
function oneLine(text: string): string {
  return text
    .replaceAll(/[\p{C}\s]+/gu, " ")
    .trim()
    .slice(0, MAX_TEXT);
}
