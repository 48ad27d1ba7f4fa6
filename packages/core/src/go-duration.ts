import { invalidArgument } from "@berth/errors";

const UNITS_MS: ReadonlyMap<string, number> = new Map([
  ["ns", 1e-6],
  ["us", 1e-3],
  ["µs", 1e-3],
  ["ms", 1],
  ["s", 1000],
  ["m", 60_000],
  ["h", 3_600_000],
]);

/** This reads a duration as Go writes it (`1h30m`, `100ms`, `-5s`, `0`), in milliseconds. @throws invalid_argument */
export function parseGoDuration(text: string): number {
  const match = /^([+-]?)((?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|ms|s|m|h))+|0)$/.exec(text);
  if (match === null) throw invalidArgument(`invalid duration ${JSON.stringify(text)}`);
  let totalMs = 0;
  for (const [, number, unit] of (match[2] ?? "").matchAll(/([\d.]+)(ns|us|µs|ms|s|m|h)/g)) {
    totalMs += Number(number) * (UNITS_MS.get(unit ?? "") ?? 0);
  }
  return match[1] === "-" ? -totalMs : totalMs;
}
