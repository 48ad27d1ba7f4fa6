import { invalidArgument } from "@berth/errors";

/** This returns an argument that must be given. @throws invalid_argument - it is missing or empty */
export function requireArgument(args: readonly string[], index: number, complaint: string): string {
  const value = args[index];
  if (value === undefined || value === "") throw invalidArgument(complaint);
  return value;
}

/** This reads `key=value` texts; a text without `=` stands for a label that is set to nothing. */
export function parseLabels(texts: readonly string[]): Map<string, string> {
  return new Map(
    texts.map((text) => {
      const equals = text.indexOf("=");
      return equals < 0 ? [text, ""] : [text.slice(0, equals), text.slice(equals + 1)];
    }),
  );
}
