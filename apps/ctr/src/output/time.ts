/** This writes a time in UTC to the second: `2026-11-21T03:06:16Z`. */
export function formatSecond(timeMs: number): string {
  return `${new Date(timeMs).toISOString().slice(0, 19)}Z`;
}

/** This writes a time as JSON has it: milliseconds without trailing zeros, the year 1 for a time that is not set. */
export function formatJsonTime(timeMs: number): string {
  if (timeMs === 0) return "0001-01-01T00:00:00Z";
  return new Date(timeMs).toISOString().replace(/\.?0+Z$/, "Z");
}

/** This writes nanoseconds since 1970 as lists of events have them: `2026-11-21 03:06:17.352151 +0000 UTC`. */
export function formatInstant(timeNs: bigint): string {
  const date = new Date(Number(timeNs / 1_000_000n)).toISOString();
  const fraction = String(timeNs % 1_000_000_000n)
    .padStart(9, "0")
    .replace(/0+$/, "");
  return `${date.slice(0, 10)} ${date.slice(11, 19)}${fraction === "" ? "" : `.${fraction}`} +0000 UTC`;
}
