import type { Row, Target } from "./figure.ts";
import { median, ratios } from "./statistics.ts";

const HEADER = ["FIGURE", "BERTH", "CONTAINERD", "RATIO", "TARGET", "REACHED"];

/** This lays rows out as a table: median [least–greatest], and the median of the ratios of each round. */
export function formatTable(rows: readonly Row[]): string {
  const lines = [HEADER, ...rows.map(cells)];
  const widths = HEADER.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)));
  return lines
    .map((line) =>
      line
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

function cells({ label, unit, berth, other, otherName, target }: Row): string[] {
  const quotients = ratios(berth, other);
  const compared = other.length > 0;
  return [
    label,
    `${spread(berth)} ${unit}`,
    compared ? `${spread(other)} ${unit}${otherName === undefined ? "" : ` (${otherName})`}` : "",
    compared ? `${spread(quotients)} ×` : "",
    target === undefined ? "" : formatTarget(target, unit),
    target === undefined ? "" : isReached(target, berth, quotients) ? "yes" : "no",
  ];
}

function formatTarget(target: Target, unit: string): string {
  const sign = target.bound === "at most" ? "≤" : "≥";
  return "ratio" in target ? `${sign} ${target.ratio} ×` : `${sign} ${target.value} ${unit}`;
}

function isReached(target: Target, berth: readonly number[], quotients: readonly number[]): boolean {
  const [reached, wanted] = "ratio" in target ? [median(quotients), target.ratio] : [median(berth), target.value];
  return target.bound === "at most" ? reached <= wanted : reached >= wanted;
}

function spread(values: readonly number[]): string {
  const middle = formatNumber(median(values));
  if (values.length < 2) return middle;
  return `${middle} [${formatNumber(Math.min(...values))}–${formatNumber(Math.max(...values))}]`;
}

/** Three digits that count: more would be noise. */
function formatNumber(value: number): string {
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return value.toFixed(digits);
}
