import { invalidArgument, messageOf } from "@berth/errors";

/** What the engine knows of JSON and TypeScript's library not yet: the text of a number, and numbers written as they stood. */
interface ExactJson {
  parse(text: string, revive: (key: string, value: unknown, context: { readonly source?: string }) => unknown): unknown;
  rawJSON(text: string): unknown;
}
const exactJson = JSON as unknown as ExactJson; // it has these functions, see above

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
    // the empty key is the whole: a number alone is to be refused
    process = exactJson.parse(new TextDecoder().decode(spec), (key, value, { source }) =>
      key !== "" && typeof value === "number" && source !== undefined ? exactJson.rawJSON(source) : value,
    );
  } catch (error) {
    throw invalidArgument(`process specification: ${messageOf(error)}`, { cause: error });
  }
  if (typeof process !== "object" || process === null || Array.isArray(process))
    throw invalidArgument("process specification is no object");
  return process as Readonly<Record<string, unknown>>; // an object is one of these
}
