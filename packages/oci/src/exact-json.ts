/** What the engine knows of JSON and TypeScript's library not yet: the text of a number, and numbers written as they stood. */
interface ExactJson {
  parse(text: string, revive: (key: string, value: unknown, context: { readonly source?: string }) => unknown): unknown;
  rawJSON(text: string): unknown;
}
const exactJson = JSON as unknown as ExactJson; // it has these functions, see above

/**
 * This parses JSON to be written again by `JSON.stringify`: numbers are objects that it writes as they stood, also those above 2^53. Of a field that is there twice the last one counts.
 *
 * @throws SyntaxError - it is no JSON; RangeError - it is nested too deeply
 */
export function parseExactJson(text: string): unknown {
  // The empty key is the whole: a number alone stays one.
  return exactJson.parse(text, (key, value, { source }) =>
    key !== "" && typeof value === "number" && source !== undefined ? exactJson.rawJSON(source) : value,
  );
}
