import { invalidArgument } from "@berth/errors";

// Go takes both characters for micro. Written as escapes: a bundle with any character past ASCII takes twice the memory.
const UNITS_MS: ReadonlyMap<string, number> = new Map([
  ["ns", 1e-6],
  ["us", 1e-3],
  ["\u00B5s", 1e-3],
  ["\u03BCs", 1e-3],
  ["ms", 1],
  ["s", 1000],
  ["m", 60_000],
  ["h", 3_600_000],
]);

/** This reads a duration as Go writes it (`1h30m`, `100ms`, `-5s`, `0`), in milliseconds. @throws invalid_argument */
export function parseGoDuration(text: string): number {
  const match = /^([+-]?)((?:(?:\d+\.?\d*|\.\d+)(?:ns|us|[\u00B5\u03BC]s|ms|s|m|h))+|0)$/.exec(text);
  if (match === null) throw invalidArgument(`invalid duration ${JSON.stringify(text)}`);
  let totalMs = 0;
  for (const [, number, unit] of (match[2] ?? "").matchAll(/([\d.]+)(ns|us|[\u00B5\u03BC]s|ms|s|m|h)/g)) {
    totalMs += Number(number) * (UNITS_MS.get(unit ?? "") ?? 0);
  }
  return match[1] === "-" ? -totalMs : totalMs;
}
