const BINARY_UNITS = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] as const;
const DECIMAL_UNITS = ["B", "kB", "MB", "GB", "TB", "PB", "EB"] as const;

/** This writes bytes as images and snapshots have them: `405.0 B`, `1.1 MiB`. */
export function formatBinarySize(bytes: number): string {
  let value = bytes;
  let unit = "B";
  for (const next of BINARY_UNITS) {
    if (value < 1024) break;
    value /= 1024;
    unit = next;
  }
  return `${value.toFixed(1)} ${unit}`;
}

/** This writes bytes as the content store's lists have them, in four digits: `228B`, `1.108MB`. */
export function formatDecimalSize(bytes: number): string {
  let value = bytes;
  let unit = 0;
  for (; value >= 1000 && unit < DECIMAL_UNITS.length - 1; unit += 1) value /= 1000;
  return `${Number(value.toPrecision(4))}${DECIMAL_UNITS[unit]}`;
}
