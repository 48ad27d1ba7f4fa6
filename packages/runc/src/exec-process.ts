import { invalidArgument, messageOf } from "@berth/errors";
import { parseExactJson } from "@berth/oci";

/**
 * This returns an OCI process (JSON) that has a terminal if the request says so, whatever it said itself: clients take the process
 * of a container for their exec and ask for a terminal beside it. Limits above 2^53 stay what they are.
 *
 * @throws invalid_argument - no JSON object
 */
export function processWithTerminal(spec: Uint8Array, terminal: boolean): Uint8Array {
  const process = parseProcess(spec);
  if ((process["terminal"] ?? false) === terminal) return spec;
  return new TextEncoder().encode(JSON.stringify({ ...process, terminal }));
}

function parseProcess(spec: Uint8Array): Readonly<Record<string, unknown>> {
  let process: unknown;
  try {
    process = parseExactJson(new TextDecoder().decode(spec));
  } catch (error) {
    throw invalidArgument(`process specification: ${messageOf(error)}`, { cause: error });
  }
  if (typeof process !== "object" || process === null || Array.isArray(process))
    throw invalidArgument("process specification is no object");
  return process as Readonly<Record<string, unknown>>; // an object is one of these
}
